"""LoanPro's document records."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass

from bulkup.sandbox.objectstore.objects import StoredObject


@dataclass(slots=True)
class Record:
    """A document record, from its init on.

    Args:
        id: its number.
        owner: ``loan:ID`` or ``customer:ID``.
        section: its section's id.
        name: the file's name as it was announced.
        system_name: the name that the vendor gave it.
        custom_name: its label, if it has one.
        declared: the size that was announced, in bytes.
        created: when, as a Unix time in seconds.
        stored: the bytes, once they came.
    """

    id: int
    owner: str
    section: str
    name: str
    system_name: str
    custom_name: str | None
    declared: int | None
    created: int
    stored: StoredObject | None = None
    archived: int = 0
    customer_visible: int = 0
    description: str = ""

    @property
    def key(self) -> str:
        """Where its bytes are in the object store."""
        entity = "LoanDocuments" if self.owner.startswith("loan:") else "CustomerDocuments"
        return f"loanpro/tenants/1/fileAttachments/{entity}/{self.id}/{self.system_name}"

    @property
    def mime(self) -> str:
        """By its extension."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    def render(self) -> Mapping[str, object]:
        """The document object of a list."""
        kind, _, owner = self.owner.partition(":")
        return {
            "id": self.id,
            f"{kind}Id": int(owner) if owner.isdecimal() else owner,
            "userId": 7,
            "sectionId": int(self.section) if self.section.isdecimal() else self.section,
            "fileAttachmentId": self.id + 1000,
            "userName": "Sandbox User",
            "remoteAddress": "192.0.2.1",
            "fileName": self.name,
            "description": self.description,
            "ip": 3221225985,
            "size": self.declared,
            "active": 0,
            "created": f"/Date({self.created})/",
            "archived": self.archived,
            "customerVisible": self.customer_visible,
        }

    def attachment(self, size: int | None, url: str | None) -> Mapping[str, object]:
        """The ``FileAttachment`` of the record."""
        return {
            "id": self.id + 1000,
            "parentType": "Entity.LoanDocument",
            "parentId": self.id,
            "fileName": self.system_name,
            "fileOriginalName": self.name,
            "fileSize": size,
            "fileMime": self.mime,
            "fileUrl": url,
        }
