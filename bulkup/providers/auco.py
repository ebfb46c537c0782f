"""Auco: signature processes.

Flow (guide): creating a process mails its signers and costs credits, so it is never repeated blindly. A small PDF goes
inside the creating POST, in base64; for a larger one the POST asks for a signed URL (``compress``) that lives 5 seconds
and takes one PUT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bulkup.errors import StepError
from bulkup.model import Failure, Inline, Receipt, Reply, Stage, Ticket, Traits, Upload
from bulkup.providers.auco_columns import AucoColumns
from bulkup.providers.auco_documents import AucoDocuments
from bulkup.providers.base import Answer, Caller, Found, Json, Outgoing, Trace, unreadable
from bulkup.providers.reading import text, token
from bulkup.secret import SignedUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Auco(AucoDocuments):
    """The flow.

    Args:
        base_url: the environment; production costs credits.
        private_key, public_key: ``prk_...`` changes, ``puk_...`` reads.
        url_life: how long a signed URL lives, in seconds; the guide says 5, newer docs 300.
        inline_limit: up to so many bytes a PDF goes inside the creating call; "only for small files" (guide).
        content_type: of the PUT, if the store binds one.
    """

    base_url: str = "https://dev.auco.ai/v1.5/ext"
    private_key: str = field(default="", repr=False)
    public_key: str = field(default="", repr=False)
    url_life: float = 5.0
    inline_limit: int = 256 * 1024
    content_type: str | None = None

    name: ClassVar[str] = "auco"
    flow: ClassVar[str] = "v1.5"
    traits: ClassVar[Traits] = Traits(
        repeatable_init=False,
        digests=frozenset({"sha256"}),
        magic=b"%PDF-",
        proves_arrival=False,
        target_refusals=frozenset(),
    )

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`."""
        return [secret for secret in (self.private_key, self.public_key) if secret]

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - by method alone
        """The key of the method, raw: the public one reads, the private one does the rest (vendor's docs).

        Every call says that it speaks JSON; where there is a body, the core does.
        """
        if method == "GET":
            return {"Authorization": self.public_key, "Content-Type": "application/json"}
        return {"Authorization": self.private_key}

    async def init(self, api: Caller, documents: Sequence[Outgoing]) -> Ticket:
        """Create the process; a small PDF goes along, and the call is then the transfer itself."""
        (outgoing,) = documents
        columns = _columns(outgoing)
        path = "/document/upload" if columns.package_name is None else "/package/upload"
        if not self._compressed(outgoing):
            url = SignedUrl(self.base_url + path)
            form = Inline(_process(outgoing), "file")
            inside = Upload("POST", url, (0,), form=form, auth=True, single_use=True, is_init=True)
            return Ticket(None, (None,), (inside,))
        json = (await api.call("POST", path, json={**_process(outgoing), "compress": True})).object()
        code, url_ = _code(json), text(json.get("url"))
        if not url_:
            raise unreadable(f"process {code} was created, but the answer lacks the url for its document")
        headers = () if self.content_type is None else (("Content-Type", self.content_type),)
        upload = Upload("PUT", SignedUrl(url_), (0,), headers=headers, single_use=True, lifetime=self.url_life)
        return Ticket(None, (code,), (upload,))

    async def finish(
        self,
        api: Caller,  # noqa: ARG002 - the answer is the proof
        documents: Sequence[Outgoing],  # noqa: ARG002
        ticket: Ticket,
        replies: Mapping[int, Reply],
    ) -> Sequence[Receipt]:
        """The PUT's 200, or the code in the creating call's answer: one that can't be read counts as lost."""
        if not ticket.inits:
            return [Receipt(ticket.remote_ids[0])]
        reply = replies[0]
        try:
            return [Receipt(_code(Answer(reply.status, {}, reply.body).object()))]
        except StepError as error:
            return [Receipt(failure=error.failure, stage=Stage.INIT, known=False)]

    async def find(
        self,
        api: Caller,
        traces: Sequence[Trace],
        claimed: frozenset[str],  # noqa: ARG002 - only its own code counts
    ) -> Sequence[Receipt | Found | None]:
        """See `Finder.find`: by code; without one, or without the bytes, nothing can tell what became of it."""
        return [await self._look_up(api, trace) for trace in traces]

    async def _look_up(self, api: Caller, trace: Trace) -> Receipt | Found:
        code = trace.remote_id
        if code is None:
            words = "the process was asked for, no answer came, and Auco can only be asked by the code in that answer"
            return Receipt(failure=Failure("no_answer", words), stage=Stage.INIT, known=False)
        if await self.arrived(api, code, trace.outgoing.content.size):
            return Found(code, arrived=True)
        words = f"process {code} was created, but nothing proves that its document arrived"
        return Receipt(code, Failure("no_answer", words), Stage.TRANSFER, known=False)

    def _compressed(self, outgoing: Outgoing) -> bool:
        """Whether the PDF goes by a signed URL: as the row says, else by size; a package takes no file (guide)."""
        columns = _columns(outgoing)
        if columns.compress is not None:
            return columns.compress
        return columns.package_name is not None or outgoing.content.size > self.inline_limit


def _columns(outgoing: Outgoing) -> AucoColumns:
    columns: Any = outgoing.document.columns
    assert isinstance(columns, AucoColumns)  # noqa: S101 - the registry pairs adapters and columns
    return columns


def _process(outgoing: Outgoing) -> dict[str, object]:
    """The process's fields, by the guide's names; none that the row does not give, but ``custom``.

    ``custom`` is of the vendor's newer docs. Without one of the row's own it holds bulkup's key, so that a person can
    tell which row a process is of; an empty one is left out, for an environment that refuses what its guide lacks.
    """
    columns = _columns(outgoing)
    key = {"bulkup_key": outgoing.document.key}
    given: dict[str, object] = {
        "email": columns.email,
        "name": columns.name,
        "subject": columns.subject,
        "message": columns.message,
        "signProfile": columns.sign_profile,
        "packageName": columns.package_name,
        "document": columns.document,
        "folder": columns.folder,
        "remember": columns.remember,
        "expiredDate": columns.expired_at,
        "camera": columns.camera,
        "otpCode": columns.otp_code,
        "options": columns.options,
        "notification": columns.notification,
        "readers": columns.readers,
        "custom": key if columns.custom is None else columns.custom or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _code(json: Json) -> str:
    """The document's code: ``code`` by the guide, ``document`` by newer docs.

    A package alone is what the vendor answers to a process without a document, so it proves nothing of ours.
    """
    code = token(json.get("code")) or token(json.get("document"))
    if not code:
        package = text(json.get("package"))
        raise unreadable("the answer has neither code nor document" + (f", only package {package}" if package else ""))
    return code
