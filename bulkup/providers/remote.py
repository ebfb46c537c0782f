"""A document as the vendor has it: what listing and getting answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bulkup.secret import SignedUrl


@dataclass(frozen=True, slots=True)
class ViewUrl:
    """Where a file, or a rendition of it, can be read.

    Attributes:
        kind: ``original``, ``preview``, ``gallery`` or ``thumbnail``.
        expires_at: ISO 8601; None: it does not expire, but wants the vendor's credentials.
    """

    url: SignedUrl
    kind: str
    expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a document; what the vendor does not say is None.

    Attributes:
        md5: in hexadecimal or base64, as the vendor gives it.
        sha256: likewise.
        size: in bytes.
        size_kb: in units of 1,024 bytes.
    """

    name: str
    content_type: str | None = None
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None
    size_kb: int | None = None
    urls: tuple[ViewUrl, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class RemoteDocument:
    """One document of a vendor; what the vendor does not say is None.

    Attributes:
        properties: what only this vendor has, by bulkup's names.
    """

    id: str
    target: str
    type: str | None = None
    status: str | None = None
    archived: bool = False
    external_reference: str | None = None
    files: tuple[RemoteFile, ...] = ()
    created_at: str | None = None
    updated_at: str | None = None
    properties: Mapping[str, object] = field(default_factory=dict)


def arranged(documents: Sequence[RemoteDocument], *, archived: bool, newest_first: bool) -> list[RemoteDocument]:
    """Either the archived documents or the others, in the order of their making."""
    wanted = [document for document in documents if document.archived is archived]
    return sorted(wanted, key=lambda document: document.created_at or "", reverse=newest_first)
