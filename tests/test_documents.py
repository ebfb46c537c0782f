"""``bulkup documents``: what each vendor holds, and what else can be done with it, by the real command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Archive
from tests.process import Server, bulkup, serving
from tests.vendors import CASES

BY_ID = {case.id: case for case in CASES}
SIGNED = "X-Amz-Signature"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One sandbox for all tests of this file; each uses containers or documents of its own."""
    with serving() as server:
        yield server


class Documents:
    """Runs ``bulkup documents``."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What the command prints; on an error, what it says."""
        done = bulkup("documents", *arguments, environment=self.server.environment, cwd=self.folder)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> list[Any]:
        """What it prints with ``--json``."""
        return [json.loads(line) for line in self(*arguments, "--json").splitlines()]

    def upload(self, archive: Archive, case: str, **columns: str) -> str:
        """Upload ``doc.pdf`` as a row of a case, and answer its id."""
        archive.add("doc.pdf", b"%PDF-1.7 content", **BY_ID[case].row(0), **columns)
        done = bulkup("run", archive.manifest(), environment=self.server.environment, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        (row,) = archive.ledger_rows()
        return str(row["document_id"])


@pytest.fixture
def documents(server: Server, archive: Archive) -> Documents:
    """The command, in the archive's folder."""
    return Documents(server, archive.folder)


@pytest.mark.parametrize(
    ("case", "container", "name"),
    [
        ("lightreach", "account:A-0", "doc.pdf"),
        ("loanpro", "loan:100", "doc.pdf"),
        ("loanpro-updated", "customer:200", "doc.pdf"),
        ("alloy", "entity:P-0", "doc.pdf"),
        ("kompliant", "subject:sr_0", "doc.pdf"),
    ],
)
def test_list_and_get(documents: Documents, archive: Archive, case: str, container: str, name: str) -> None:
    """A container's list has the document, with its name; asked for by id it is the same."""
    provider = BY_ID[case].provider
    id_ = documents.upload(archive, case)
    archived = ["--archived"] if case == "loanpro-updated" else []  # as the row asks
    listed = {document["id"]: document for document in documents.json("list", provider, container, *archived)}
    assert listed[id_]["target"] == container
    assert [file["name"] for file in listed[id_]["files"]] == [name]
    assert not any("urls" in file for file in listed[id_]["files"])
    (got,) = documents.json("get", provider, id_, "--in", container)
    assert (got["id"], [file["name"] for file in got["files"]]) == (id_, [name])
    assert id_ in documents("list", provider, container, *archived)
    assert SIGNED not in documents("list", provider, container, *archived)


def test_a_paged_list_is_read_to_its_end(documents: Documents, archive: Archive) -> None:
    """LoanPro gives 50 documents at a time."""
    for number in range(120):
        archive.add(f"{number}.pdf", provider="loanpro", section_id="1", loan_id="777")
    bulkup("run", archive.manifest(), environment=documents.server.environment, cwd=archive.folder)
    listed = documents.json("list", "loanpro", "loan:777")
    assert sorted(file["name"] for document in listed for file in document["files"]) == sorted(
        f"{number}.pdf" for number in range(120)
    )


def test_auco_is_asked_by_code(documents: Documents, archive: Archive) -> None:
    """A document's code is enough for its status, its signers and a URL to read it."""
    code = documents.upload(archive, "auco")
    (got,) = documents.json("get", "auco", code)
    assert (got["id"], got["status"]) == (code, "CREATED")
    assert [signer["email"] for signer in got["properties"]["signers"]] == ["signer0@example.com"]
    assert SIGNED in got["files"][0]["urls"][0]["url"]


@pytest.mark.parametrize(
    ("case", "container", "name"),
    [
        ("lightreach", "account:A-0", "doc.pdf"),
        ("loanpro", "loan:100", "doc.pdf"),
        ("alloy", "entity:P-0", "doc.pdf"),
        ("auco-url", "", "Contract 0.pdf"),
    ],
)
def test_download(documents: Documents, archive: Archive, case: str, container: str, name: str) -> None:
    """The bytes are those that were sent; a file that is there is not overwritten."""
    provider = BY_ID[case].provider
    id_ = documents.upload(archive, case)
    where = ["--in", container] if container else []
    (told,) = documents.json("download", provider, id_, *where, "-o", "downloads")
    path = archive.folder / "downloads" / name
    assert told == {"path": str(Path("downloads") / name), "size": 16}
    assert path.read_bytes() == b"%PDF-1.7 content"
    path.write_bytes(b"mine")
    assert "can't write: File exists" in documents("download", provider, id_, *where, "-o", "downloads", code=2)
    assert path.read_bytes() == b"mine"


def test_loanpro_archive_and_update(documents: Documents, archive: Archive) -> None:
    """Archived, shown, described, renamed and moved to another section, by the guide's names."""
    id_ = documents.upload(archive, "loanpro")
    at = ["--in", "loan:100"]
    documents("update", "loanpro", id_, *at, "--set", "description=signed", "--set", "customer_visible=true")
    documents("update", "loanpro", id_, *at, "--set", "section_id=99", "--set", "file_name=new.pdf")
    documents("archive", "loanpro", id_, *at)
    record = next(record for record in documents.server.state()["loanpro"]["documents"] if record["id"] == id_)
    shown = [record[name] for name in ("description", "customerVisible", "section", "name", "archived")]
    assert shown == ["signed", 1, "99", "new.pdf", 1]
    documents("update", "loanpro", id_, *at, "--set", "archived=false")
    (found,) = [each for each in documents.json("list", "loanpro", "loan:100") if each["id"] == id_]
    assert not found["archived"]
    assert found["properties"]["description"] == "signed"


def test_lightreach_archive_and_fresh_urls(documents: Documents, archive: Archive) -> None:
    """URLs are made anew; an archived document is listed apart."""
    id_ = documents.upload(archive, "lightreach")
    at = ["--in", "account:A-0"]
    assert SIGNED in documents("refresh-urls", "lightreach", id_, *at)
    assert documents("archive", "lightreach", id_, *at) == f"{id_}: archived\n"
    assert id_ not in documents("list", "lightreach", "account:A-0")
    assert id_ in documents("list", "lightreach", "account:A-0", "--archived")


def test_kompliant_requirements(documents: Documents, archive: Archive) -> None:
    """What a workflow requires, a document linked to two of it, and what fulfils one."""
    id_ = documents.upload(archive, "kompliant")
    required = {item["document_type_code"]: item for item in documents.json("required", "kompliant", "w_sandbox")}
    ids = [required[code]["required_document_id"] for code in ("PASSPORT", "BANK_STATEMENT")]
    assert documents("link", "kompliant", "w_sandbox", id_, *ids) == f"{id_}: fulfils {', '.join(ids)}\n"
    for fulfilled in ids:
        found = documents.json("fulfillments", "kompliant", fulfilled, "--decision-status", "PENDING")
        assert id_ in {item["document_id"] for item in found}
        assert not documents.json("fulfillments", "kompliant", fulfilled, "--decision-status", "ACCEPTED")
    documents("link", "kompliant", "w_sandbox", id_, *ids)  # again: what is done is done
    error = documents("link", "kompliant", "w_sandbox", id_, ids[0], "rd_none", code=1)
    assert "link_failed" in error
    assert "rd_none" in error
    assert ids[0] not in error


NONE = [
    ("auco", ("list", "a@example.com"), "list documents"),
    ("auco", ("archive", "X"), "archive a document"),
    ("auco", ("refresh-urls", "X"), "refresh URLs"),
    ("alloy", ("archive", "X"), "archive a document"),
    ("alloy", ("update", "X", "--set", "a=b"), "update a document"),
    ("kompliant", ("download", "X"), "download a document"),
    ("lightreach", ("update", "X", "--set", "a=b"), "update a document"),
    ("lightreach", ("required", "w"), "list required documents"),
    ("loanpro", ("refresh-urls", "X"), "refresh URLs"),
    ("loanpro", ("link", "w", "d", "r"), "link a document"),
    ("loanpro", ("fulfillments", "r"), "list fulfillments"),
]


@pytest.mark.parametrize(("provider", "arguments", "what"), NONE, ids=str)
def test_a_vendor_without_one_says_so(
    documents: Documents, provider: str, arguments: tuple[str, ...], what: str
) -> None:
    """One line, exit code 2, and the vendor is not asked."""
    command, *rest = arguments
    assert documents(command, provider, *rest, code=2) == f"bulkup: {provider} has no way to {what}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("get", "loanpro", "89"), 2, "loanpro must be told which container"),
        (("get", "loanpro", "1", "--in", "loan:100"), 1, "loan:100 has no document 1"),
        (("get", "alloy", "D-0", "--in", "entity:P-none"), 1, "has no document D-0"),
        (("get", "auco", "NONE"), 1, "DOCUMENT_NOT_FOUND"),
        (("list", "loanpro", "borrower:7"), 2, "borrower:7"),
        (("list", "nobody", "x"), 2, "unknown provider 'nobody': known are lightreach, loanpro"),
        (("update", "loanpro", "89", "--in", "loan:1", "--set", "colour=red"), 2, "what can be set: archived"),
        (("update", "loanpro", "89", "--in", "loan:1", "--set", "colour"), 2, "must be like NAME=VALUE"),
        (("required", "kompliant", "w_none"), 1, "ENTITY_NOT_FOUND"),
        (("list", "alloy", "entity:..", "--base-url", "http://127.0.0.1:9"), 1, "unreachable"),
    ],
)
def test_errors_are_one_line(documents: Documents, arguments: tuple[str, ...], code: int, words: str) -> None:
    """What was wrong, and where; no traceback."""
    error = documents(*arguments, code=code)
    assert words in error
    assert error.count("\n") == 1
