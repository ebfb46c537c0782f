"""Kompliant: documents of subject records, linked to what workflows require.

Flow (guide): ``document.create`` makes the record and answers an S3 URL with the fields of a presigned POST form; the
form carries all of them, then the file, and is answered 204; ``document.get`` tells when the upload is final, and its
SHA-256; one ``batchAdd`` links the document to all required documents that the row names. Every call is a signed POST.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bulkup.answers import Explanation
from bulkup.errors import StepError
from bulkup.model import Content, Failure, Form, Receipt, Reply, Stage, Ticket, Traits, Upload
from bulkup.providers.base import Caller, Found, Job, Json, Outgoing, Trace, follow_up, unreadable
from bulkup.providers.kompliant_columns import KompliantColumns
from bulkup.providers.kompliant_documents import KompliantDocuments
from bulkup.providers.kompliant_envelope import digest, document, explained, opened
from bulkup.providers.kompliant_progress import Progress, progress, word, words
from bulkup.providers.reading import mapping, number, recent, required, text
from bulkup.secret import SignedUrl, scrub

_FIELDS = (
    "Content-Type",
    "key",
    "policy",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "x-amz-meta-document-id",
)
"""The guide's order; "ORDER MATTERS"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kompliant(KompliantDocuments):
    """The flow.

    Args:
        base_url: one host serves both environments, as far as known.
        api_key, secret_key, auth_token: of one environment; the secret key is base64.
        uploaded_statuses, processing_statuses, pending_statuses, failed_statuses: words of ``upload_status``, with
            commas between; the vendor's list of them is not published. ``processing`` says that the bytes came. A word
            of none of these counts as uploaded once there is a hash; no word at all as pending.
        extensions: the allowed file extensions, with commas between; empty: the vendor decides.
        max_size: the largest file, in bytes; None: the vendor decides.
        url_life: how long a form lives, in seconds; "typically" 5 minutes (guide).
    """

    base_url: str = "https://api.kompliant.com"
    api_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    auth_token: str = field(default="", repr=False)
    uploaded_statuses: str = (
        "UPLOADED,UPLOAD_COMPLETE,UPLOAD_COMPLETED,UPLOAD_SUCCESS,COMPLETE,COMPLETED,SUCCESS,SUCCEEDED,STORED,"
        "AVAILABLE,READY,ACTIVE,DONE,FINISHED,VERIFIED"
    )
    processing_statuses: str = "PROCESSING,QUEUED,SCANNING,VALIDATING,VERIFYING"
    pending_statuses: str = (
        "PENDING,UPLOADING,IN_PROGRESS,CREATED,INITIATED,NEW,WAITING,AWAITING,AWAITING_UPLOAD,WAITING_FOR_UPLOAD,"
        "UPLOAD_PENDING,PENDING_UPLOAD,UPLOAD_INITIATED,UPLOAD_STARTED,UPLOAD_IN_PROGRESS,NOT_UPLOADED,NOT_STARTED,"
        "STARTED,REQUESTED,REGISTERED,DRAFT,OPEN,INCOMPLETE,EXPIRED,UPLOAD_EXPIRED"
    )
    failed_statuses: str = (
        "FAILED,FAILURE,ERROR,REJECTED,INVALID,UPLOAD_FAILED,UPLOAD_ERROR,CANCELLED,CANCELED,ABORTED,DELETED,"
        "QUARANTINED,INFECTED"
    )
    extensions: str = ""
    max_size: int | None = None
    url_life: float = 300.0

    name: ClassVar[str] = "kompliant"
    flow: ClassVar[str] = "v1"
    traits: ClassVar[Traits] = Traits(digests=frozenset({"sha256"}))

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`; the signature is the same for every call, so it is one too."""
        signature = ksig1(self.api_key, self.secret_key) if self.secret_key else ""
        return [secret for secret in (self.api_key, self.secret_key, self.auth_token, signature) if secret]

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the same for all
        """``KSig1-HMAC-SHA256`` over the API key alone, the documented minimal form."""
        return {
            "Authorization": f"KSig1-HMAC-SHA256 {ksig1(self.api_key, self.secret_key)}",
            "X-API-Key": self.api_key,
            "X-API-Auth-Token": self.auth_token,
        }

    def explain(self, headers: Mapping[str, str], error: Json) -> Explanation:  # noqa: ARG002 - none are documented
        """``errors[]`` of the envelope, with the trace id."""
        return explained(error)

    async def init(self, api: Caller, documents: Sequence[Outgoing]) -> Ticket:
        """Make the document's record."""
        (outgoing,) = documents
        name, size = outgoing.document.filename, outgoing.content.size
        allowed, extension = words(self.extensions), name.rpartition(".")[2]
        if allowed and word(extension) not in allowed:
            why = f"the extension {extension!r} is not among those allowed: {self.extensions}"
            raise StepError(Failure("extension_refused", why, sent=False))
        if self.max_size is not None and size > self.max_size:
            raise StepError(Failure("too_large", f"{size} bytes are more than the {self.max_size} allowed", sent=False))
        subject = _columns(outgoing).subject_record_id
        json = {"subject_record_id": subject, "file_name": name, "file_size_in_bytes": size}
        made = document(opened((await api.call("POST", "/document.create", json=json)).object(), self.secrets))
        id_, url = required(made, "document_id", "upload_url")
        upload = Upload("POST", SignedUrl(url), (0,), form=_form(made), lifetime=self.url_life)
        return Ticket(None, (id_,), (upload,))

    async def finish(
        self,
        api: Caller,
        documents: Sequence[Outgoing],
        ticket: Ticket,
        replies: Mapping[int, Reply],
    ) -> Sequence[Receipt]:
        """Wait until the upload is final, compare the hash, link the document."""
        (outgoing,), (id_,) = documents, ticket.remote_ids
        assert id_ is not None  # noqa: S101 - every record of this vendor has one
        event = await api.follow(Job(None, "/document.get", self._ended, {"document_id": id_}))
        final = document(opened(event, self.secrets))
        if self._progress(final) is Progress.FAILED:
            return [self._failed(id_, final)]
        if failure := _disproof(final, outgoing.content):
            return [Receipt(id_, failure)]
        columns = _columns(outgoing)
        if columns.workflow_id is None or not (columns.required_document_ids or columns.document_type_code):
            return [Receipt(id_)]
        return [await follow_up(self._link(api, columns, id_, fresh=bool(replies)), id_, Stage.LINK)]

    async def find(
        self, api: Caller, traces: Sequence[Trace], claimed: frozenset[str]
    ) -> Sequence[Receipt | Found | None]:
        """See `Finder.find`: by id; without one by name and size, in the list of the subject record."""
        nameless = [trace for trace in traces if trace.remote_id is None]
        known = await self.list_all(api, _columns(nameless[0].outgoing).target) if nameless else []
        taken = {trace.remote_id for trace in traces} | claimed
        found: list[Receipt | Found | None] = []
        for trace in traces:
            if trace.remote_id is not None:
                found.append(await self._look_up(api, trace.remote_id))
                continue
            left = self._left_behind(trace, [item for item in known if _id(item) not in taken])
            found.append(left)
            if left is not None:
                taken.add(left.remote_id)
        return found

    async def _look_up(self, api: Caller, id_: str) -> Receipt | Found | None:
        """What became of a record whose form may have been sent."""
        try:
            there = await self.record(api, id_)
        except StepError as error:
            if error.failure.code != "not_found":
                raise
            return None
        so_far = self._progress(there)
        if so_far is Progress.FAILED:
            return self._failed(id_, there)
        if so_far is Progress.UNCLEAR:
            said = scrub(text(there.get("upload_status")) or "", self.secrets)
            why = f"upload_status is {said!r}, which is in none of BULKUP_KOMPLIANT_..._STATUSES"
            return Receipt(id_, Failure("no_answer", why), known=False)
        return Found(id_, so_far.arrived)

    def _failed(self, id_: str, there: Json) -> Receipt:
        """A record whose bytes the vendor did not take, in its words."""
        said = ": ".join(filter(None, (text(there.get("upload_status")), text(there.get("comment")))))
        failure = Failure("upload_failed", scrub(f"upload_status is {said}", self.secrets), answered=True)
        return Receipt(id_, failure)

    def _left_behind(self, trace: Trace, known: Sequence[Json]) -> Found | None:
        """The record of a create call whose answer, and so its form, is not known; one that has bytes is another's."""
        for item in known:
            if _is(item, trace) and not self._progress(item).arrived:
                return Found(_id(item), arrived=False)
        return None

    async def _link(self, api: Caller, columns: KompliantColumns, document_id: str, *, fresh: bool) -> None:
        """Link to the required documents of the row; ``fresh``: no earlier run can have done so."""
        workflow = columns.workflow_id or ""
        ids = list(columns.required_document_ids or ())
        if columns.document_type_code is not None:
            ids.append(await self.required_by_code(api, workflow, columns.document_type_code))
        ids = list(dict.fromkeys(ids))
        if not fresh:
            ids = await self.unlinked(api, ids, document_id)
        await self.link_document(api, workflow, ids, document_id)

    def _ended(self, event: Json) -> bool:
        """Whether nothing more comes: the upload is final, or the vendor refuses to speak of it."""
        try:
            return self._progress(document(opened(event))).final
        except StepError:
            return True

    def _progress(self, there: Json) -> Progress:
        settings = {
            Progress.FAILED: self.failed_statuses,
            Progress.DONE: self.uploaded_statuses,
            Progress.CAME: self.processing_statuses,
            Progress.WAITS: self.pending_statuses,
        }
        return progress(there, settings)


def checked_secret_key(value: str) -> str:
    """A secret key that signatures can be made with; raises ValueError."""
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be base64") from None
    return value


def ksig1(api_key: str, secret_key: str) -> str:
    """A credential's signature: HMAC-SHA256 of the API key by the decoded secret key, in base64 (vendor's docs)."""
    return base64.b64encode(hmac.digest(base64.b64decode(secret_key), api_key.encode(), "sha256")).decode()


def _columns(outgoing: Outgoing) -> KompliantColumns:
    columns: Any = outgoing.document.columns
    assert isinstance(columns, KompliantColumns)  # noqa: S101 - the registry pairs adapters and columns
    return columns


def _form(made: Json) -> Form:
    """Every returned field, those of the guide in its order and others after them; then the file."""
    values = {name: text(value) for name, value in mapping(made.get("presign_values")).items()}
    if not values or None in values.values():
        raise unreadable("the answer lacks the fields of the form")
    names = [name for name in _FIELDS if name in values] + [name for name in values if name not in _FIELDS]
    return Form(tuple((name, values[name] or "") for name in names), "file", values.get("Content-Type"))


def _disproof(there: Json, content: Content) -> Failure | None:
    """Why the vendor's document can't be what was sent; None: nothing speaks against it."""
    reported = digest(text(there.get("hash")))
    if reported is not None and content.sha256 is not None and reported != content.sha256:
        why = f"the vendor reports SHA-256 {reported}, sent was {content.sha256}"
        return Failure("hash_mismatch", why, answered=True)
    size = number(there.get("file_size"))
    if reported is None and size is not None and size != content.size:
        why = f"the vendor reports {size} bytes, sent were {content.size}"
        return Failure("size_mismatch", why, answered=True)
    return None


def _id(item: Json) -> str:
    return text(item.get("document_id")) or ""


def _is(item: Json, trace: Trace) -> bool:
    """Whether a listed document is that of an unanswered create call."""
    return (
        _id(item) != ""
        and text(item.get("file_name")) == trace.outgoing.document.filename
        and number(item.get("file_size")) in {None, trace.outgoing.content.size}
        and item.get("deleted_at") is None
        and recent(text(item.get("created_at")), trace.initiated_at)
    )
