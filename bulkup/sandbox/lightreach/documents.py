"""Persisted documents, and how they look in an answer."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.objectstore.bucket import Bucket
from bulkup.sandbox.objectstore.objects import StoredObject
from bulkup.sandbox.stage import Stage

_VARIANTS: Final = ("preview", "gallery", "thumbnail")
_KB: Final = 1024


@dataclass(slots=True)
class DocumentFile:
    """A file of a document: its original name, Content-Type, key in the store, and bytes.

    ``wrong_hash``: another MD5 than the true one is reported.
    """

    name: str
    content_type: str
    key: str
    stored: StoredObject
    wrong_hash: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stored.size

    @property
    def md5(self) -> str:
        """Of the bytes, in hex; the true one."""
        return self.stored.md5.hex()

    @property
    def sha256(self) -> str:
        """Of the bytes, in hex."""
        return self.stored.sha256.hex()

    @property
    def reported_md5(self) -> bytes:
        """The digest that the vendor tells."""
        return hashlib.md5(self.stored.md5, usedforsecurity=False).digest() if self.wrong_hash else self.stored.md5


@dataclass(slots=True)
class Document:
    """A persisted document. ``has_variants``: its renditions are generated."""

    id: str
    account: str
    type: str
    external_reference: str | int | float | None
    files: list[DocumentFile]
    created: float
    updated: float
    archived: bool = False
    has_variants: bool = False


class Documents:
    """All documents, oldest first.

    Args:
        stage: what all stand-ins share.
        options: encodings and the life of view URLs.
        bucket: signs the view URLs.
    """

    def __init__(self, stage: Stage, options: LightReachOptions, bucket: Bucket) -> None:
        self._stage = stage
        self._options = options
        self._bucket = bucket
        self.all: list[Document] = []
        # as in MongoDB, so that another sandbox's ids are not met again
        self._prefix = f"{int(stage.clock()):08x}{secrets.token_hex(5)}"
        self._by_id: dict[str, Document] = {}
        self._by_account: defaultdict[str, list[Document]] = defaultdict(list)

    def add(
        self, account: str, kind: str, external_reference: str | int | float | None, files: list[DocumentFile]
    ) -> Document:
        """Persist a document; its id is greater than that of any before."""
        now = self._stage.clock()
        name = f"{self._prefix}{len(self.all):06x}"
        document = Document(name, account, kind, external_reference, files, now, now)
        self.all.append(document)
        self._by_id[name] = document
        self._by_account[account].append(document)
        return document

    def find(self, account: str, name: str) -> Document | None:
        """The account's document of this id, archived or not."""
        document = self._by_id.get(name)
        return document if document is not None and document.account == account else None

    def of_account(self, account: str, *, archived: bool) -> Sequence[Document]:
        """The account's documents, oldest first."""
        return [document for document in self._by_account[account] if document.archived == archived]

    def render(self, document: Document) -> dict[str, object]:
        """The document as the API shows it, with freshly signed view URLs."""
        return {
            "id": document.id,
            "accountId": document.account,
            "applicationId": f"app-{document.account}",
            "status": "pending",
            "archived": document.archived,
            "type": document.type,
            "externalReference": document.external_reference,
            "files": [self._render_file(document, number) for number in range(len(document.files))],
            "meta": {"createdAt": iso(document.created), "updatedAt": iso(document.updated)},
        }

    def _render_file(self, document: Document, number: int) -> dict[str, object]:
        file = document.files[number]
        digest = file.reported_md5
        rounding = _KB // 2 if self._options.size_rounding == "nearest" else 0
        return {
            "originalName": file.name,
            "contentType": file.content_type,
            "md5Hash": digest.hex() if self._options.md5_encoding == "hex" else base64.b64encode(digest).decode(),
            "sizeKB": (file.size + rounding) // _KB,
            "viewUrls": self._view_urls(document, number),
        }

    def _view_urls(self, document: Document, number: int) -> list[dict[str, str]]:
        file = document.files[number]
        kinds = ["original"]
        if document.has_variants and (file.content_type.startswith("image/") or file.content_type == "application/pdf"):
            kinds.extend(_VARIANTS)
        if document.type in self._options.sensitive_types:
            root = f"{self._stage.url}/lightreach/api/v2/accounts/{document.account}/documents/{document.id}"
            return [{"url": f"{root}/files/{number}", "type": kind} for kind in kinds]
        signed = self._bucket.sign_get(file.key, self._options.view_life)
        return [{"url": signed.url, "type": kind, "expiresAt": iso(signed.expires)} for kind in kinds]


def iso(time: float) -> str:
    """A Unix time as the API writes it: UTC, milliseconds."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
