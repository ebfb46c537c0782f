"""The words everything else is written in: documents, uploads, tickets, receipts. Pure data, no I/O.

A row of the manifest becomes a `Document`. A vendor's answer to an init becomes a `Ticket` that says, for each
document, where its bytes go (`Upload`). What the vendor finally says of each document is a `Receipt`. Whatever goes
wrong on the way is a `Failure`, which answers the two questions a retry asks: may the same request be sent again, and
does it take a new URL?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from bulkup.secret import PUBLIC_FIELDS, SignedUrl


class State(StrEnum):
    """Where a document stands in the ledger."""

    PENDING = "pending"
    INITIATED = "initiated"
    STORED = "stored"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"


SKIPPED = "skipped"
"""What a run says of a document that an earlier run completed; its ledger row stays `State.COMPLETED`."""


class Stage(StrEnum):
    """The step of the flow in which a document failed."""

    MANIFEST = "manifest"
    PREFLIGHT = "preflight"
    INIT = "init"
    TRANSFER = "transfer"
    CONFIRM = "confirm"
    LINK = "link"
    UPDATE = "update"


class Columns(BaseModel):
    """A provider's own columns of one manifest row, validated. Each adapter has its subclass.

    A blank cell is an absent one. Text stays text: leading zeros, ``NA`` and inner spaces survive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    group_column: ClassVar[str | None] = None
    """The column whose equal values bundle rows, if the provider has one."""

    contained: ClassVar[bool] = True
    """Whether `target` is a container, in whose list the vendor's documents are found; see `bulkup.sharding.cohort`."""

    @property
    def target(self) -> str:
        """The vendor's container, such as ``account:A-1``."""
        raise NotImplementedError

    @property
    def share(self) -> tuple[str | None, ...]:
        """Rows of one provider with an equal value may share one init."""
        raise NotImplementedError

    @property
    def bundled(self) -> bool:
        """Whether all rows with this `share` become one document of several files."""
        return False

    @property
    def identity(self) -> dict[str, str]:
        """The options that make another document of the same file, as part of the derived key."""
        return {}

    def objections(self, filename: str, now: datetime) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - for subclasses
        """What speaks against sending such a file at this time: column and text each.

        Asked when a manifest is read, and of no account for rows that were sent before: they outlive the day they were
        good for.
        """
        return ()


C_co = TypeVar("C_co", bound=Columns, covariant=True)


class Document(NamedTuple, Generic[C_co]):
    """One row of the manifest that is to become (part of) one document of the vendor.

    Attributes:
        id: the ledger's number for it.
        key: the row's stable identity across runs.
        number: the row's place in the manifest, the first record being 1.
        path: where the bytes are: an absolute path, or a URL.
        filename: the name the vendor is told.
        columns: the provider's own columns.
    """

    id: int
    key: str
    number: int
    provider: str
    target: str
    path: str
    filename: str
    columns: C_co


class Content(NamedTuple):
    """What a file held when it was read.

    Attributes:
        size: bytes.
        mtime_ns: its modification time, to notice a later change without reading it.
        md5: hexadecimal, or None where the vendor's proof does not need it.
        sha256: likewise.
    """

    size: int
    mtime_ns: int
    md5: str | None = None
    sha256: str | None = None


CREDENTIALS_REFUSED = frozenset({"unauthorized", "token_expired"})
"""Codes of failures that say nothing of the document, only of who asked."""


class Again(StrEnum):
    """Whether, and from where, a failed step may be repeated."""

    NEVER = "never"
    SAME = "same"
    """The same request may be sent again."""
    FRESH = "fresh"
    """Only a new init helps: the URL is used up or expired."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step did not succeed.

    Attributes:
        code: a stable snake_case word, such as ``rejected``.
        text: what happened in the vendor's own words, scrubbed; one line.
        again: whether the step may be repeated.
        sent: False when the request surely never reached the vendor.
        answered: True when the vendor answered, whatever it said.
        retry_after: seconds the vendor asked to wait, if it did.
        status: the HTTP status, if there was an answer.
    """

    code: str
    text: str
    again: Again = Again.NEVER
    sent: bool = True
    answered: bool = False
    retry_after: float | None = None
    status: int | None = None

    @property
    def final(self) -> bool:
        """Whether asking later would not help: the vendor answered, and says the same again to good credentials."""
        return self.answered and self.again is Again.NEVER and self.code not in CREDENTIALS_REFUSED


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart/form-data body: the fields in this order, then the file(s), last.

    Attributes:
        fields: names and values, sent without a Content-Type of their own.
        file_field: the name of the file part, repeated for each file.
        content_type: of the file part; None sends ``application/octet-stream``.
    """

    fields: tuple[tuple[str, str], ...]
    file_field: str
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Inline:
    """A JSON object as the body, with the file inside it in base64.

    Attributes:
        fields: the rest of the object.
        file_field: the name under which the file stands, last.
    """

    fields: Mapping[str, object]
    file_field: str


class Upload(NamedTuple):
    """A transfer of bytes, described as data; `bulkup.transfer` carries it out.

    Attributes:
        method: ``PUT`` or ``POST``.
        url: where to, exactly; its query is a secret.
        headers: exactly these, besides ``Host`` and ``Content-Length``.
        slots: positions (in the ticket) of the documents whose bytes it carries; more than one only in a form.
        form: what wraps the bytes; None: they go raw.
        auth: send the vendor's credentials along; never for a signed URL.
        single_use: the URL (or the effect) can't be repeated, not even after a lost answer.
        is_init: it is the vendor's init itself, with the bytes inside.
        lifetime: seconds the URL lives from the init's answer, where the vendor says so; None: the trait's `url_ttl`.
    """

    method: str
    url: SignedUrl
    slots: tuple[int, ...]
    headers: tuple[tuple[str, str], ...] = ()
    form: Form | Inline | None = None
    auth: bool = False
    single_use: bool = False
    is_init: bool = False
    lifetime: float | None = None

    @property
    def secrets(self) -> frozenset[str]:
        """Values that the server knows and nobody may see: those of the URL's query, and of the form's fields."""
        fields = self.form.fields if isinstance(self.form, Form) else ()
        return self.url.secrets | {value for name, value in fields if name.lower() not in PUBLIC_FIELDS}


@dataclass(frozen=True, slots=True)
class Ticket:
    """What an init answered, for a batch of documents in request order.

    Attributes:
        job_id: the vendor's job, where it has jobs.
        remote_ids: for each document the record's id, where the vendor already made one.
        uploads: the transfers to carry out; none if the bytes went along with the init.
    """

    job_id: str | None
    remote_ids: tuple[str | None, ...]
    uploads: tuple[Upload, ...]

    @property
    def inits(self) -> bool:
        """Whether carrying it out is the vendor's init itself."""
        return any(upload.is_init for upload in self.uploads)


@dataclass(slots=True)  # not frozen: that would make it several times as slow to make one
class Reply:
    """The store's answer to a transfer."""

    status: int
    body: bytes = field(repr=False)


class Receipt(NamedTuple):
    """What the vendor finally says of one document: its id, or why there is none.

    Attributes:
        known: False when the vendor's word leaves open what became of it.
    """

    document_id: str | None = None
    failure: Failure | None = None
    stage: Stage = Stage.CONFIRM
    known: bool = True


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about a vendor's flow that the engine acts on.

    Attributes:
        max_batch: documents that one init may carry.
        url_ttl: seconds a URL lives, counted from before the init was sent; None: for ever.
        repeatable_init: an init may be repeated after a lost answer or a 5xx.
        init_leaves_nothing: an init whose bytes never followed leaves no trace that anybody sees, so a document
            without a remote id needs no question before it is sent again.
        digests: hashes the vendor's proof needs, of ``md5`` and ``sha256``.
        magic: bytes that every file has in its first 1,024, where the vendor takes one type only.
        proves_arrival: the flow's own answers say that the vendor has the bytes; else only an extra question does.
        target_refusals: codes of a refused init that say: no document of this container will be let in.
        fallback_status: an init answered twice with it, without Retry-After, means: use the adapter's fallback.
    """

    max_batch: int = 1
    url_ttl: float | None = None
    repeatable_init: bool = True
    init_leaves_nothing: bool = False
    digests: frozenset[str] = frozenset()
    magic: bytes = b""
    proves_arrival: bool = True
    target_refusals: frozenset[str] = frozenset({"forbidden", "not_found"})
    fallback_status: int | None = None
