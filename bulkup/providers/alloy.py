"""Alloy: documents of persons and businesses.

Flow (guide): a POST describes the document and answers its token; the raw bytes are PUT to the API itself, with the
credentials and as ``application/octet-stream``, and the answer says ``uploaded: true``. A token takes its bytes at any
time, so a description whose answer was lost is looked for in the list and used, not repeated.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from bulkup.answers import Explanation
from bulkup.errors import StepError
from bulkup.model import Failure, Receipt, Reply, Stage, Ticket, Traits, Upload
from bulkup.providers.alloy_columns import AlloyColumns
from bulkup.providers.alloy_documents import AlloyDocuments, documents_path, moment_of
from bulkup.providers.base import Answer, Caller, Found, Json, Outgoing, Trace, unreadable
from bulkup.providers.reading import mapping, number, objects, recent, required, text, token
from bulkup.schedule import until
from bulkup.secret import SignedUrl

_TOKEN_EXPIRED = 4012
_HOUR = 3600.0
_LOGIN = "/oauth/bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alloy(AlloyDocuments):
    """The flow.

    Args:
        base_url: the environment, with its version; the production host is not known for sure.
        token, secret: of the account.
        auth: ``basic`` sends these with each call, ``bearer`` gets a token for them (OAuth2).
        extensions: the allowed file types, with commas between; empty: the vendor decides.
        max_size: the largest file, in bytes; None: the vendor decides. Neither limit is published.
    """

    base_url: str = "https://sandbox.alloy.co/v1"
    token: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    auth: Literal["basic", "bearer"] = "basic"
    extensions: str = ""
    max_size: int | None = None
    bearer: str | None = field(default=None, repr=False)
    expires_at: float = 0.0

    name: ClassVar[str] = "alloy"
    flow: ClassVar[str] = "v1"
    stale: ClassVar[str] = "token_expired"
    traits: ClassVar[Traits] = Traits(digests=frozenset({"sha256"}))

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`."""
        return [secret for secret in (self.token, self.secret, self.bearer, self._basic) if secret]

    @property
    def renewable(self) -> bool:
        """Whether there is a bearer token at all."""
        return self.auth == "bearer"

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - by path alone
        """Basic for the login and where nothing else is wanted, else the bearer token."""
        if self.bearer is not None and path != _LOGIN:
            return {"Authorization": f"Bearer {self.bearer}"}
        return {"Authorization": f"Basic {self._basic}"}

    @property
    def _basic(self) -> str:
        return base64.b64encode(f"{self.token}:{self.secret}".encode()).decode()

    def login(self) -> tuple[str, str, Json]:
        """See `Renewable.login`; OAuth2 client credentials."""
        return "POST", _LOGIN, {"grant_type": "client_credentials"}

    def logged_in(self, answer: Json, now: float) -> Alloy:
        """See `Renewable.logged_in`; the answer comes in two forms, seconds of life or milliseconds of its end.

        An end that is not within the hour that all tokens live was written by another clock than ours.
        """
        if bearer := token(answer.get("access_token")):
            life = _seconds(answer.get("expires_in"))
        elif bearer := token(answer.get("bearer_token")):
            life = _seconds(answer.get("expires")) / 1000 - now
        else:
            raise unreadable("the login's answer has no token")
        return replace(self, bearer=bearer, expires_at=now + (life if 0 < life <= _HOUR else _HOUR))

    def explain(self, headers: Mapping[str, str], error: Json) -> Explanation:
        """The error's minor code, type and message; a 429 also says when the limit is lifted (vendor's docs)."""
        said = mapping(error.get("error"))
        minor = number(said.get("minor_code"))
        words = [text(said.get(name)) for name in ("minor_code", "type", "message")]
        details = objects([said.get("details")]) or objects(said.get("details"))
        words += [text(detail.get(name)) for detail in details for name in ("path", "message")]
        return Explanation(
            code="token_expired" if minor == _TOKEN_EXPIRED else None,
            words=": ".join(word for word in words if word) or None,
            retry_after=until(headers.get("alloy-ratelimit-reset"), headers.get("date")),
        )

    async def init(self, api: Caller, documents: Sequence[Outgoing]) -> Ticket:
        """Describe the document."""
        (outgoing,) = documents
        description = _description(outgoing)
        if refusal := self._refusal(description.get("extension", ""), outgoing.content.size):
            raise StepError(refusal)
        answer = await api.call("POST", documents_path(_columns(outgoing).target), json=description)
        return self.resume(outgoing, *required(answer.object(), "document_token"))

    def resume(self, document: Outgoing, remote_id: str) -> Ticket:
        """A PUT of the bytes to the document's token; it may be repeated."""
        path = f"{documents_path(_columns(document).target)}/{quote(remote_id, safe='')}"
        headers = (("Content-Type", "application/octet-stream"),)
        upload = Upload("PUT", SignedUrl(self.base_url + path), (0,), headers=headers, auth=True)
        return Ticket(None, (remote_id,), (upload,))

    async def finish(
        self, api: Caller, documents: Sequence[Outgoing], ticket: Ticket, replies: Mapping[int, Reply]
    ) -> Sequence[Receipt]:
        """``uploaded: true`` in the PUT's answer, or in the list where that can't be read."""
        (outgoing,), (token,) = documents, ticket.remote_ids
        uploaded = _uploaded(replies.get(0), token)
        if uploaded is None:
            listed = await self.list_all(api, _columns(outgoing).target)
            uploaded = any(
                text(item.get("document_token")) == token and item.get("uploaded") is True for item in listed
            )
        if not uploaded:
            failure = Failure("not_uploaded", "the vendor took the bytes and still says uploaded: false", answered=True)
            return [Receipt(failure=failure, stage=Stage.TRANSFER)]
        return [Receipt(token)]

    async def find(self, api: Caller, traces: Sequence[Trace], claimed: frozenset[str]) -> Sequence[Found | None]:
        """See `Finder.find`: by token; without one by the description, among those that wait for their bytes."""
        listed = {}
        for item in await self.list_all(api, _columns(traces[0].outgoing).target):
            listed[text(item.get("document_token")) or ""] = item
        taken = {trace.remote_id for trace in traces} | claimed
        found: list[Found | None] = []
        for trace in traces:
            token = trace.remote_id
            if token is None:
                waiting = (token for token, item in listed.items() if token not in taken and _is(item, trace))
                token = next(waiting, None)
                taken.add(token)
            there = listed.get(token or "")
            found.append(None if token is None or there is None else Found(token, there.get("uploaded") is True))
        return found

    def _refusal(self, extension: str, size: int) -> Failure | None:
        """What the limits that were set say against a file."""
        allowed = {word.strip().lower() for word in self.extensions.split(",")}
        if self.extensions and extension.lower() not in allowed:
            words = f"the extension {extension!r} is not among those allowed: {self.extensions}"
            return Failure("extension_refused", words, sent=False)
        if self.max_size is not None and size > self.max_size:
            return Failure("too_large", f"{size} bytes are more than the {self.max_size} allowed", sent=False)
        return None


def _columns(outgoing: Outgoing) -> AlloyColumns:
    columns: Any = outgoing.document.columns
    assert isinstance(columns, AlloyColumns)  # noqa: S101 - the registry pairs adapters and columns
    return columns


def _description(outgoing: Outgoing) -> dict[str, str]:
    """The body of the describe call; the extension goes without its dot and apart from the name (guide)."""
    columns = _columns(outgoing)
    filename = outgoing.document.filename
    stem, _, ending = filename.rpartition(".")
    named = bool(stem and ending)  # ".profile" and "notes." have no extension
    given = {
        "name": columns.name or (stem if named else filename),
        "extension": columns.extension or (ending if named else None),
        "type": columns.type,
        "note": columns.note,
        "note_author_agent_email": columns.note_author_agent_email,
    }
    return {name: value for name, value in given.items() if value is not None}


def _uploaded(reply: Reply | None, token: str | None) -> bool | None:
    """What the PUT's answer says of its document, an object or an array of one; None: nothing that can be read."""
    try:
        said = None if reply is None else Answer(reply.status, {}, reply.body).json()
    except StepError:
        return None
    items = objects(said) or [mapping(said)]
    uploaded = [item.get("uploaded") for item in items if text(item.get("document_token")) in {token, None}]
    return uploaded[0] if len(uploaded) == 1 and isinstance(uploaded[0], bool) else None


def _seconds(value: object) -> float:
    """A number, which JSON may write with a fraction; 0 if it is none."""
    return float(value) if isinstance(value, int | float) else float(number(value) or 0)


def _is(item: Json, trace: Trace) -> bool:
    """Whether a listed document is the one that an unanswered describe call asked for."""
    wanted = _description(trace.outgoing)
    notes = [(text(n.get("note")), text(n.get("note_author_agent_email"))) for n in objects(item.get("notes"))]
    note = (wanted.get("note"), wanted.get("note_author_agent_email"))
    return (
        item.get("uploaded") is False
        and all((text(item.get(name)) or None) == wanted.get(name) for name in ("name", "extension", "type"))
        and (note == (None, None) or not notes or note in notes)
        and recent(moment_of(item), trace.initiated_at)
    )
