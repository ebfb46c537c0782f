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
from bulkup.providers.reading import mapping, number, objects, recent, required, text
from bulkup.schedule import until
from bulkup.secret import SignedUrl

_TOKEN_EXPIRED = 4012
_LOGIN = "/oauth/bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alloy(AlloyDocuments):
    """The flow.

    Args:
        base_url: the environment, with its version; the production host is not known for sure.
        token, secret: of the account.
        auth: ``basic`` sends these with each call, ``bearer`` gets a token for them (OAuth2).
    """

    base_url: str = "https://sandbox.alloy.co/v1"
    token: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    auth: Literal["basic", "bearer"] = "basic"
    bearer: str | None = field(default=None, repr=False)
    expires_at: float = 0.0

    name: ClassVar[str] = "alloy"
    flow: ClassVar[str] = "v1"
    stale: ClassVar[str] = "token_expired"
    traits: ClassVar[Traits] = Traits(digests=frozenset({"sha256"}))

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`."""
        return [secret for secret in (self.token, self.secret, self.bearer) if secret]

    @property
    def renewable(self) -> bool:
        """Whether there is a bearer token at all."""
        return self.auth == "bearer"

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - by path alone
        """Basic for the login and where nothing else is wanted, else the bearer token."""
        if self.bearer is not None and path != _LOGIN:
            return {"Authorization": f"Bearer {self.bearer}"}
        return {"Authorization": "Basic " + base64.b64encode(f"{self.token}:{self.secret}".encode()).decode()}

    def login(self) -> tuple[str, str, Json]:
        """See `Renewable.login`; OAuth2 client credentials."""
        return "POST", _LOGIN, {"grant_type": "client_credentials"}

    def logged_in(self, answer: Json, now: float) -> Alloy:
        """See `Renewable.logged_in`; the answer comes in two forms, seconds of life or milliseconds of its end."""
        if (token := text(answer.get("access_token"))) is not None:
            ends = now + (number(answer.get("expires_in")) or 3600)
        elif (token := text(answer.get("bearer_token"))) is not None:
            ends = (number(answer.get("expires")) or 0) / 1000 or now + 3600
        else:
            raise unreadable("the login's answer has no token")
        return replace(self, bearer=token, expires_at=ends)

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
        path = documents_path(_columns(outgoing).target)
        answer = await api.call("POST", path, json=_description(outgoing))
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
        uploaded = _uploaded(replies.get(0))
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


def _columns(outgoing: Outgoing) -> AlloyColumns:
    columns: Any = outgoing.document.columns
    assert isinstance(columns, AlloyColumns)  # noqa: S101 - the registry pairs adapters and columns
    return columns


def _description(outgoing: Outgoing) -> dict[str, str]:
    """The body of the describe call; the extension goes without its dot and apart from the name (guide)."""
    columns = _columns(outgoing)
    stem, _, ending = outgoing.document.filename.rpartition(".")
    given = {
        "name": columns.name or stem or ending,
        "extension": columns.extension or (ending if stem else None),
        "type": columns.type,
        "note": columns.note,
        "note_author_agent_email": columns.note_author_agent_email,
    }
    return {name: value for name, value in given.items() if value is not None}


def _uploaded(reply: Reply | None) -> bool | None:
    """What the PUT's answer says, an object or an array of one; None: nothing that can be read."""
    try:
        said = None if reply is None else Answer(reply.status, {}, reply.body).json()
    except StepError:
        return None
    uploaded = (objects(said) or [mapping(said)])[0].get("uploaded")
    return uploaded if isinstance(uploaded, bool) else None


def _is(item: Json, trace: Trace) -> bool:
    """Whether a listed document is the one that an unanswered describe call asked for."""
    wanted = _description(trace.outgoing)
    notes = [(text(n.get("note")), text(n.get("note_author_agent_email"))) for n in objects(item.get("notes"))]
    note = (wanted.get("note"), wanted.get("note_author_agent_email"))
    return (
        item.get("uploaded") is False
        and all(text(item.get(name)) == wanted.get(name) for name in ("name", "extension", "type"))
        and (note == (None, None) or not notes or note in notes)
        and recent(moment_of(item), trace.initiated_at)
    )
