"""Palmetto LightReach: documents v2, and v1 where signed URLs are not available.

Flow (guide, "Uploading is a three-step flow"): one POST announces 1 to 25 files and answers a job and a signed URL
each; each file is PUT with exactly the content type of the answer and without the bearer; the job is followed until it
says ``complete`` or ``imageVariantsReady``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import quote

from bulkup.errors import StepError
from bulkup.model import (
    Again,
    Failure,
    Form,
    Receipt,
    Reply,
    Ticket,
    Traits,
    Upload,
)
from bulkup.providers import lightreach_documents as remote
from bulkup.providers.base import Adapter, Answer, Caller, Job, Json, Outgoing, Trace, unreadable
from bulkup.providers.lightreach_columns import LightReachColumns
from bulkup.providers.reading import shown, text, token
from bulkup.providers.remote import RemoteDocument
from bulkup.secret import SignedUrl, scrub

_DONE = frozenset({"complete", "imageVariantsReady"})
_FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LightReach:
    """The v2 flow.

    Args:
        base_url: the environment; "all testing must be done in Next", so that is the default.
        token: a bearer token; or
        username, password: of a machine-to-machine user, to get one.
        login_field: what the login calls the user; public sources disagree on ``username`` and ``email``.
    """

    base_url: str = "https://next.palmetto.finance"
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    login_field: str = "username"
    expires_at: float = 0.0

    name: ClassVar[str] = "lightreach"
    flow: ClassVar[str] = "v2"
    stale: ClassVar[str] = "unauthorized"
    contained: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        max_batch=25,
        url_ttl=3600.0,
        repeatable_init=True,
        init_leaves_nothing=True,
        digests=frozenset({"md5"}),
        fallback_status=503,
    )

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`."""
        return [secret for secret in (self.token, self.password) if secret]

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the same for all
        """The bearer token, if there is one yet."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def renewable(self) -> bool:
        """A user with a password can log in again; a token that was given can't be renewed."""
        return bool(self.username and self.password)

    def login(self) -> tuple[str, str, Json]:
        """See `Renewable.login`."""
        return "POST", "/api/auth/login", {self.login_field: self.username, "password": self.password}

    def logged_in(self, answer: Json, now: float) -> LightReach:
        """See `Renewable.logged_in`."""
        access, lifetime = token(answer.get("access_token")), answer.get("expires_in")
        if access is None or not isinstance(answer["access_token"], str):
            raise unreadable("the login's answer has no access_token")
        known = isinstance(lifetime, int | float) and lifetime > 0
        return replace(self, token=access, expires_at=now + float(lifetime) if known else float("inf"))  # type: ignore[arg-type]

    async def init(self, api: Caller, documents: Sequence[Outgoing]) -> Ticket:
        """Announce 1 to 25 files of one account, type, reference and group."""
        columns = _columns(documents)
        fields: dict[str, object] = {}
        if columns.external_reference is not None:
            fields["externalReference"] = columns.external_reference
        if len(documents) > 1:
            fields["grouped"] = columns.bundled
        files = [{"filename": d.document.filename, "size": d.content.size} for d in documents]
        json = {"files": files, "type": columns.type} | ({"fields": fields} if fields else {})
        return _ticket(await api.call("POST", _documents(columns.account_id), json=json), len(documents))

    async def finish(
        self,
        api: Caller,
        documents: Sequence[Outgoing],
        ticket: Ticket,
        replies: Mapping[int, Reply],  # noqa: ARG002 - the job knows, not the store
    ) -> Sequence[Receipt]:
        """Follow the job to its end and hold its documents against what was sent."""
        columns = _columns(documents)
        root = _documents(columns.account_id)
        job = quote(ticket.job_id or "", safe="")
        event = await api.follow(Job(f"{root}/upload-progress?jobId={job}", f"{root}/jobs/{job}", _ended))
        if event.get("type") == _FAILED:
            words = scrub(shown(event.get("error") or "") or "the job failed without a message", self.secrets)
            failure = Failure("job_failed", words, answered=True)
            return [Receipt(failure=failure)] * len(documents)
        found = remote.reported(event.get("documents"))
        return remote.receipts(found, [d.document.filename for d in documents], [d.content for d in documents])

    async def find(self, api: Caller, traces: Sequence[Trace], claimed: frozenset[str]) -> Sequence[Receipt | None]:
        """See `Finder.find`: by reference, type, names and hashes in the account's lists, archived ones too."""
        return remote.find(await self.list_all(api, traces), traces, claimed)

    async def list_all(self, api: Caller, traces: Sequence[Trace]) -> list[RemoteDocument]:
        """All documents of the account that the traces name."""
        account = _columns([trace.outgoing for trace in traces]).account_id
        return [
            *await self.list_documents(api, account),
            *await self.list_documents(api, account, archived=True),
        ]

    def fallback(self) -> Adapter:
        """v1 (guide, table of statuses: 503)."""
        return LightReachV1(v2=self)

    async def list_documents(
        self, api: Caller, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """An account's documents; ``archived`` answers only the archived ones. The guide knows no paging."""
        params = {"archived": str(archived).lower(), "sort": "ID_DESC" if newest_first else "ID_ASC"}
        answer = (await api.call("GET", _documents(container), params=params)).json()
        if not isinstance(answer, list):  # to take it for an empty list would send everything again
            raise unreadable("the answer is not a list of documents")
        return remote.parse_all(answer)

    async def get_document(self, api: Caller, container: str, document_id: str) -> RemoteDocument:
        """One document with fresh URLs."""
        answer = await api.call("GET", _document(container, document_id))
        return remote.parse(answer.object())

    async def refresh_urls(self, api: Caller, container: str, document_id: str) -> RemoteDocument:
        """One document with all its URLs made anew, those of its renditions too."""
        answer = await api.call("POST", _document(container, document_id) + "/refresh-urls")
        return remote.parse(answer.object())

    async def archive_document(self, api: Caller, container: str, document_id: str) -> None:
        """Archive (soft-delete) one document."""
        await api.call("DELETE", _document(container, document_id))

    async def download_document(self, api: Caller, container: str, document_id: str) -> list[tuple[str, bytes]]:
        """Name and bytes of each file; a URL that expired meanwhile is made anew once."""
        document = await self.get_document(api, container, document_id)
        try:
            return [(f.name, await _original(api, f.urls)) for f in document.files]
        except StepError as error:
            if error.failure.again is not Again.FRESH:
                raise
        document = await self.refresh_urls(api, container, document_id)
        return [(f.name, await _original(api, f.urls)) for f in document.files]


@dataclass(frozen=True, slots=True)
class LightReachV1:
    """The deprecated multipart upload: one synchronous POST per document, so its effect can't be repeated blindly."""

    v2: LightReach

    name: ClassVar[str] = "lightreach"
    flow: ClassVar[str] = "v1"
    stale: ClassVar[str] = "unauthorized"
    traits: ClassVar[Traits] = Traits(repeatable_init=False, digests=frozenset({"md5"}))

    @property
    def base_url(self) -> str:
        """The same environment."""
        return self.v2.base_url

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`."""
        return self.v2.secrets

    @property
    def renewable(self) -> bool:
        """As v2."""
        return self.v2.renewable

    @property
    def expires_at(self) -> float:
        """As v2."""
        return self.v2.expires_at

    def login(self) -> tuple[str, str, Json]:
        """As v2."""
        return self.v2.login()

    def logged_in(self, answer: Json, now: float) -> LightReachV1:
        """As v2."""
        return LightReachV1(self.v2.logged_in(answer, now))

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:
        """As v2."""
        return self.v2.authorize(method, path, body)

    async def init(self, api: Caller, documents: Sequence[Outgoing]) -> Ticket:  # noqa: ARG002 - nothing to announce
        """One form with all files of one document: ``type``, ``grouped``, ``files[]`` (third-party code; no guide)."""
        columns = _columns(documents)
        fields: list[tuple[str, str]] = [("type", columns.type), ("grouped", str(columns.bundled).lower())]
        if columns.external_reference is not None:
            fields.append(("externalReference", columns.external_reference))
        upload = Upload(
            method="POST",
            url=SignedUrl(f"{self.base_url}/api/accounts/{quote(columns.account_id, safe='')}/documents"),
            slots=tuple(range(len(documents))),
            form=Form(tuple(fields), "files[]"),
            auth=True,
            single_use=True,
        )
        return Ticket(None, (None,) * len(documents), (upload,))

    async def finish(
        self,
        api: Caller,  # noqa: ARG002 - v1 is synchronous
        documents: Sequence[Outgoing],
        ticket: Ticket,  # noqa: ARG002
        replies: Mapping[int, Reply],
    ) -> Sequence[Receipt]:
        """The POST answered when the document was persisted (guide); its answer's form is not published."""
        reply = replies[0]
        try:
            answer = Answer(reply.status, {}, reply.body).json()
            found = remote.reported(answer if isinstance(answer, list) else [answer])
        except StepError:
            found = []
        if not found:
            return [Receipt()] * len(documents)
        return remote.receipts(found, [d.document.filename for d in documents], [d.content for d in documents])

    async def find(self, api: Caller, traces: Sequence[Trace], claimed: frozenset[str]) -> Sequence[Receipt | None]:
        """As v2: both flows file into the same account; but v1 is not known to keep a reference."""
        return remote.find(await self.v2.list_all(api, traces), traces, claimed, reference_kept=False)


def _columns(documents: Sequence[Outgoing]) -> LightReachColumns:
    """The columns that all documents of a batch share."""
    columns: Any = documents[0].document.columns
    assert isinstance(columns, LightReachColumns)  # noqa: S101 - the registry pairs adapters and columns
    return columns


def _documents(account: str) -> str:
    """Where an account's documents are; ``account`` is its id, or that as a target."""
    return f"/api/v2/accounts/{quote(account.removeprefix('account:'), safe='')}/documents"


def _document(account: str, document_id: str) -> str:
    return f"{_documents(account)}/{quote(document_id, safe='')}"


def _ended(event: Json) -> bool:
    return event.get("type") in (*_DONE, _FAILED)  # a tuple, since a vendor's value may be unhashable


def _ticket(answer: Answer, expected: int) -> Ticket:
    """The init's answer: a job, and a URL for each file in request order (guide, "202 Accepted")."""
    json = answer.object()
    job_id, files = token(json.get("jobId")), json.get("files")
    if job_id is None or not isinstance(files, list) or len(files) != expected:
        raise unreadable("the init's answer has no jobId, or not a URL for each file")
    uploads, date = [], answer.headers.get("date")
    for position, file in enumerate(files):
        match file:
            case {"uploadUrl": str(url), "contentType": str(content_type)}:
                life = _lifetime(text(file.get("expiresAt")), date)
                headers = (("Content-Type", content_type),)
                uploads.append(Upload("PUT", SignedUrl(url), (position,), headers, lifetime=life))
            case _:
                raise unreadable("the init's answer lacks an uploadUrl or a contentType")
    return Ticket(job_id, (None,) * expected, tuple(uploads))


@lru_cache(64)
def _lifetime(expires_at: str | None, date: str | None) -> float | None:
    """Seconds from the answer to ``expiresAt``, both by the vendor's clock, so that ours does not matter."""
    try:
        return (datetime.fromisoformat(expires_at or "") - parsedate_to_datetime(date or "")).total_seconds()
    except (OverflowError, TypeError, ValueError):
        return None


async def _original(api: Caller, urls: Sequence[Any]) -> bytes:
    for view in urls:
        if view.kind == "original":
            # a URL that does not expire is a proxy of the vendor's and wants the bearer (guide, "About viewUrls")
            return await api.fetch(view.url, auth=view.expires_at is None)
    raise StepError(Failure("not_found", "the vendor offers no URL of the original"))
