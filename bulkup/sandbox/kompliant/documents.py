"""Kompliant's documents, required documents and fulfillments."""

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
        stored: the bytes, once they came.
        hash: what the vendor reports of them, once it looked.
    """

    id: str
    subject: str
    name: str
    size: int
    status: str
    created: float
    stored: StoredObject | None = None
    hash: bytes | None = None

    @property
    def extension(self) -> str:
        """In lower case, without the dot."""
        return self.name.rpartition(".")[2].lower()

    @property
    def key(self) -> str:
        """Where its bytes are in the object store."""
        return f"kompliant/{self.subject}/{self.id}.{self.extension}"

    def render(self, encoding: str) -> Mapping[str, object]:
        """As ``document.get`` answers it."""
        digest = None
        if self.hash is not None:
            digest = self.hash.hex() if encoding == "hex" else base64.b64encode(self.hash).decode()
        return {**self.listed(), "hash": digest, "uploaded_by": "api"}

    def listed(self) -> Mapping[str, object]:
        """As ``document.list`` answers it."""
        at = iso(self.created)
        return {
            "document_id": self.id,
            "subject_record_id": self.subject,
            "file_name": self.name,
            "file_size": self.size,
            "upload_status": self.status,
            "comment": None,
            "created_at": at,
            "updated_at": at,
            "deleted_at": None,
        }


@dataclass(frozen=True, slots=True)
class Required:
    """A required document of a workflow."""

    id: str
    code: str
    workflow: str

    def render(self) -> Mapping[str, object]:
        """As ``workflow.requiredDocument.list`` answers it."""
        return {
            "required_document_id": self.id,
            "document_type_code": self.code,
            "name": self.code.title().replace("_", " "),
            "category": "REQUIREMENT",
            "requirement_text": "required by the sandbox",
            "required_document_status": "INACTIVE",
            "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-01T00:00:00Z",
        }


@dataclass(frozen=True, slots=True)
class Fulfillment:
    """A document that fulfils a required one."""

    id: str
    required: str
    document: str
    created: float

    def render(self) -> Mapping[str, object]:
        """As ``batchAdd`` answers it in the guide."""
        return {
            "fulfillment_id": self.id,
            "required_document_id": self.required,
            "document_id": self.document,
            "decision_status": "PENDING",
            "created_at": iso(self.created),
            "updated_at": iso(self.created),
        }


def iso(time: float) -> str:
    """A Unix time in ISO 8601."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
