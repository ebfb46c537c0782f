"""Kompliant's documents: what is kept of them, and how they are told."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bulkup.sandbox.objectstore.objects import StoredObject


@dataclass(slots=True)
class KompliantDocument:
    """A document record, from ``document.create`` on.

    Args:
        id: ``d_...``.
        subject: the subject record's id.
        name: the file's name.
        size: as it was announced, in bytes.
        status: its ``upload_status``.
        created: when, as a Unix time in seconds.
        updated: when it changed last.
        stored: the bytes, once they came.
        hash: what the vendor reports of them, once it looked.
    """

    id: str
    subject: str
    name: str
    size: int
    status: str
    created: float
    updated: float
    stored: StoredObject | None = None
    hash: bytes | None = None

    @property
    def extension(self) -> str:
        """In lower case, without the dot."""
        return self.name.rpartition(".")[2].lower()

    @property
    def key(self) -> str:
        """Where its bytes are in the vendor's bucket."""
        return f"{self.subject}/{self.id}.{self.extension}"

    def render(self, encoding: str, before: str) -> Mapping[str, object]:
        """As ``document.get`` answers it; arguments as the options ``hash_encoding`` and ``hash_before``."""
        known = self.hash is not None and encoding != "none"
        if not known and before == "missing":
            return {**self.listed(), "uploaded_by": "api"}
        digest = None if before == "null" else ""
        if self.hash is not None and known:
            digest = self.hash.hex() if encoding == "hex" else base64.b64encode(self.hash).decode()
        return {**self.listed(), "hash": digest, "uploaded_by": "api"}

    def listed(self) -> Mapping[str, object]:
        """As ``document.list`` answers it."""
        return {
            "document_id": self.id,
            "subject_record_id": self.subject,
            "file_name": self.name,
            "file_size": self.size,
            "upload_status": self.status,
            "comment": None,
            "created_at": iso(self.created),
            "updated_at": iso(self.updated),
            "deleted_at": None,
        }


def iso(time: float) -> str:
    """A Unix time in ISO 8601."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
