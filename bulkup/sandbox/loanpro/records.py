"""LoanPro's document records."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass

from bulkup.sandbox.loanpro.options import LoanProOptions
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
    def entity(self) -> str:
        """What its documents are called."""
        return "LoanDocuments" if self.owner.startswith("loan:") else "CustomerDocuments"

    @property
    def key(self) -> str:
        """Where its bytes are in the object store."""
        return f"loanpro/tenants/1/fileAttachments/{self.entity}/{self.id}/{self.system_name}"

    @property
    def mime(self) -> str:
        """By its extension."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    def size(self, options: LoanProOptions) -> int | None:
        """What the vendor says of its size, in bytes."""
        if self.stored is not None:
            return self.stored.size
        return self.declared if options.attachment_before == "declared" else None

    def render(self, root: str, options: LoanProOptions) -> dict[str, object]:
        """The document object, of a list or an update's answer.

        Args:
            root: where the API's entities are, such as ``https://host/api/public/api/1/odata.svc``.
        """
        kind, _, owner = self.owner.partition(":")
        itself = f"{self.entity}(id={self.id})"
        related = (kind.title(), "User", "DocSection", "FileAttachment")
        return {
            "__metadata": {"uri": f"{root}/{itself}", "type": "Entity.Document"},
            **{name: {"__deferred": {"uri": f"{itself}/{name}"}} for name in related},
            "id": str(self.id) if options.ids == "text" else self.id,
            f"{kind}Id": int(owner),
            "userId": 7,
            "sectionId": int(self.section),
            "fileAttachmentId": self._attachment_id,
            "userName": "Sandbox User",
            "remoteAddress": "192.0.2.1",
            "fileName": self.name,
            "description": self.description,
            "ip": 3221225985,
            "size": self.size(options),
            "active": 0,
            "created": f"/Date({self.created})/",
            "archived": self.archived,
            "customerVisible": self.customer_visible,
        }

    def attachment(self, root: str, size: int | None, url: str | None) -> Mapping[str, object]:
        """The ``FileAttachment`` of the record; ``root`` as for `render`."""
        return {
            "__metadata": {
                "uri": f"{root}/FileAttachments(id={self._attachment_id})",
                "type": "Entity.FileAttachment",
            },
            "id": self._attachment_id,
            "parentType": f"Entity.{self.entity[:-1]}",
            "parentId": self.id,
            "fileName": self.system_name,
            "fileOriginalName": self.name,
            "fileSize": size,
            "fileMime": self.mime,
            "fileUrl": url,
        }

    @property
    def _attachment_id(self) -> int:
        return self.id + 1000
