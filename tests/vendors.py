"""The five vendors as the conformance suite sees them: rows, the requests of one upload, and what must come of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from bulkup.sandbox import (
    AlloyOptions,
    AucoOptions,
    KompliantOptions,
    LightReachOptions,
    LoanProOptions,
    Sandbox,
    VendorOptions,
)
from bulkup.sandbox.objectstore.objects import StoredObject

Row = Mapping[str, str]
Held = Counter[Hashable]


@dataclass(frozen=True)
class Case:
    """One way through one vendor.

    Args:
        id: its name in the suite.
        provider: the vendor.
        columns: the columns of a row, by its number.
        steps: the requests of one upload, in order, by their names in the sandbox.
        init: which of them makes the vendor's record.
        repeatable: whether that may be asked for twice.
        single_use: whether its URL takes one PUT only.
        options: the stand-in's switches.
        settings: more of the environment.
    """

    id: str
    provider: str
    columns: Callable[[int], dict[str, str]]
    steps: tuple[str, ...]
    init: str = "init"
    repeatable: bool = True
    single_use: bool = False
    options: VendorOptions | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def row(self, number: int) -> dict[str, str]:
        """A row's columns, its provider among them."""
        return {"provider": self.provider} | self.columns(number)

    def expected(self, row: Row, name: str, sha256: str) -> Hashable:
        """What the vendor must hold of a row."""
        return _EXPECTED[self.provider](row, name, sha256)

    def held(self, sandbox: Sandbox) -> Held:
        """What the vendor holds: documents with their bytes; LoanPro's archived orphans have none."""
        return HELD[self.provider](sandbox)

    def empty(self, sandbox: Sandbox) -> int:
        """How many records wait for bytes that will never come, in sight of the vendor's people."""
        return _EMPTY[self.provider](sandbox)


def _hash(stored: StoredObject) -> str:
    return stored.sha256.hex()


def _lightreach(number: int) -> dict[str, str]:
    return {"account_id": f"A-{number % 2}", "type": "utilityBill"}


def _loanpro(number: int) -> dict[str, str]:
    return {"section_id": "7", "loan_id": str(100 + number % 2), "custom_file_name": f"label {number}"}


def _customer(number: int) -> dict[str, str]:
    more = {"customer_visible": "yes", "archived": "no" if number % 2 else "yes", "description": f"about {number}"}
    return {"section_id": "8", "customer_id": str(200 + number % 2)} | more


def _alloy(number: int) -> dict[str, str]:
    types = ("contract", "license", "passport", "utility", "other", "internal")
    note = {"note": f"note {number}", "note_author_agent_email": "agent@example.com"} if number % 2 else {}
    return {"entity_token": f"P-{number % 2}", "type": types[number % 6]} | note


def _kompliant(number: int) -> dict[str, str]:
    return {"subject_record_id": f"sr_{number % 2}"}


def _linked(number: int) -> dict[str, str]:
    ids = "rd_sandbox_passport;rd_sandbox_bank_statement"
    return _kompliant(number) | {
        "workflow_id": "w_sandbox",
        "required_document_ids": ids,
        "document_type_code": "PROOF_OF_ADDRESS",
    }


def _auco(number: int) -> dict[str, str]:
    signers = [{"name": f"Signer {number}", "email": f"signer{number}@example.com", "phone": f"+5730012345{number}"}]
    words = {"name": f"Contract {number}", "subject": "Please sign", "message": "Two pages"}
    return {"email": "creator@example.com", "sign_profile": json.dumps(signers)} | words


def _by_url(number: int) -> dict[str, str]:
    more = {"compress": "true", "remember": "6", "otp_code": "true", "custom": '{"ours": 1}'}
    return _auco(number) | more


CASES = (
    Case("lightreach", "lightreach", _lightreach, ("init", "put", "stream"), options=LightReachOptions()),
    Case(
        "lightreach-v1",
        "lightreach",
        _lightreach,
        ("v1",),
        "v1",
        repeatable=False,
        options=LightReachOptions(signed_urls=False),
    ),
    Case("loanpro", "loanpro", _loanpro, ("init", "put")),
    Case(
        "loanpro-updated",
        "loanpro",
        _customer,
        ("init", "put", "update"),
        options=LoanProOptions(attachment_before="empty", error_form="d"),
    ),
    Case("alloy", "alloy", _alloy, ("init", "put")),
    Case(
        "alloy-bearer",
        "alloy",
        _alloy,
        ("login", "init", "put"),
        options=AlloyOptions(put_answer="array", created=201),
        settings={"BULKUP_ALLOY_AUTH": "bearer"},
    ),
    Case("kompliant", "kompliant", _kompliant, ("init", "form", "get")),
    Case(
        "kompliant-linked",
        "kompliant",
        _linked,
        ("init", "form", "get", "required", "link"),
        options=KompliantOptions(envelope=False, hash_encoding="base64"),
    ),
    Case(
        "kompliant-items",
        "kompliant",
        _linked,
        ("init", "form", "get", "required", "link"),
        options=KompliantOptions(batch_form="items"),
    ),
    Case("auco", "auco", _auco, ("init",), repeatable=False),
    Case("auco-url", "auco", _by_url, ("init", "put"), repeatable=False, single_use=True),
    Case(
        "auco-package",
        "auco",
        lambda number: _auco(number) | {"package_name": f"Package {number}", "compress": "true"},
        ("package", "put"),
        "package",
        repeatable=False,
        single_use=True,
        options=AucoOptions(created=201),
    ),
    Case(
        "auco-newer",
        "auco",
        _by_url,
        ("init", "put"),
        repeatable=False,
        single_use=True,
        options=AucoOptions(generation="newer"),
    ),
)


_EXPECTED: Mapping[str, Callable[[Row, str, str], Hashable]] = {
    "lightreach": lambda row, name, sha256: (row["account_id"], row["type"], name, sha256),
    "loanpro": lambda row, name, sha256: (
        f"loan:{row['loan_id']}" if "loan_id" in row else f"customer:{row['customer_id']}",
        row["section_id"],
        name,
        row.get("custom_file_name"),
        row.get("archived") == "yes",
        row.get("customer_visible") == "yes",
        row.get("description", ""),
        sha256,
    ),
    "alloy": lambda row, name, sha256: (
        row["entity_token"],
        row["type"],
        *name.rsplit(".", 1),
        row.get("note"),
        row.get("note_author_agent_email"),
        sha256,
    ),
    "kompliant": lambda row, name, sha256: (
        row["subject_record_id"],
        name,
        3 if "workflow_id" in row else 0,
        sha256,
    ),
    "auco": lambda row, _name, sha256: (
        *(row[column] for column in ("email", "name", "subject", "message")),
        row["sign_profile"],
        row.get("package_name"),
        sha256,
    ),
}


def _held_lightreach(sandbox: Sandbox) -> Held:
    return Counter(
        (document.account, document.type, file.name, file.sha256)
        for document in sandbox.lightreach.documents
        for file in document.files
    )


def _held_loanpro(sandbox: Sandbox) -> Held:
    return Counter(
        (
            record.owner,
            record.section,
            record.name,
            record.custom_name,
            bool(record.archived),
            bool(record.customer_visible),
            record.description,
            _hash(record.stored),
        )
        for record in sandbox.loanpro.documents
        if record.stored
    )


def _held_alloy(sandbox: Sandbox) -> Held:
    return Counter(
        (
            document.entity,
            *(document.description[name] for name in ("type", "name", "extension")),
            *(document.description.get(name) for name in ("note", "note_author_agent_email")),
            _hash(document.stored),
        )
        for document in sandbox.alloy.documents
        if document.stored
    )


def _held_kompliant(sandbox: Sandbox) -> Held:
    links = Counter(fulfillment.document for fulfillment in sandbox.kompliant.fulfillments)
    return Counter(
        (document.subject, document.name, links[document.id], _hash(document.stored))
        for document in sandbox.kompliant.documents
        if document.stored
    )


def _held_auco(sandbox: Sandbox) -> Held:
    return Counter(
        (
            *(process.fields[name] for name in ("email", "name", "subject", "message")),
            json.dumps(process.fields["signProfile"]),
            process.fields.get("packageName"),
            _hash(process.stored),
        )
        for process in sandbox.auco.processes
        if process.stored
    )


HELD: Mapping[str, Callable[[Sandbox], Held]] = {
    "lightreach": _held_lightreach,
    "loanpro": _held_loanpro,
    "alloy": _held_alloy,
    "kompliant": _held_kompliant,
    "auco": _held_auco,
}
"""What each vendor holds, in the form of `Case.expected`."""

_EMPTY: Mapping[str, Callable[[Sandbox], int]] = {
    "lightreach": lambda _: 0,  # an unfinished job leaves nothing
    "loanpro": lambda sandbox: sum(not (r.stored or r.archived) for r in sandbox.loanpro.documents),
    "alloy": lambda sandbox: sum(not document.stored for document in sandbox.alloy.documents),
    "kompliant": lambda sandbox: sum(not document.stored for document in sandbox.kompliant.documents),
    "auco": lambda sandbox: sum(not process.stored for process in sandbox.auco.processes),
}
