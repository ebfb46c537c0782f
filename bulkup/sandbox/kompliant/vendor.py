"""The Kompliant stand-in."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import ClassVar

from aiohttp import web

from bulkup.sandbox.kompliant.access import Access, missing, refuse
from bulkup.sandbox.kompliant.documents import KompliantDocument
from bulkup.sandbox.kompliant.options import KompliantOptions
from bulkup.sandbox.kompliant.requirements import Fulfillment, Requirements
from bulkup.sandbox.objectstore.form import Forms
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step, body_subject, unknown
from bulkup.sandbox.vendor import Vendor, VendorOptions

_ORDER = (
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
_MAGIC = {"pdf": b"%PDF-", "png": b"\x89PNG", "jpg": b"\xff\xd8\xff", "jpeg": b"\xff\xd8\xff"}


class Kompliant(Vendor):
    """Kompliant's documents and fulfillments, under ``/kompliant``."""

    name: ClassVar[str] = "kompliant"
    options_type: ClassVar[type[VendorOptions]] = KompliantOptions

    def __init__(self, stage: Stage, options: VendorOptions) -> None:
        assert isinstance(options, KompliantOptions)  # noqa: S101 # the sandbox picks by `options_type`
        self.options = options
        self._stage = stage
        self._access = Access(stage, options)
        self.forms = Forms(stage, "kompliant", _ORDER, self._landed, self._subject, options.expired_token)
        self._documents: dict[str, KompliantDocument] = {}
        self._by_key: dict[str, KompliantDocument] = {}
        self._requirements = Requirements(self._access, options, self._documents, stage.clock)

    @property
    def documents(self) -> list[KompliantDocument]:
        """All document records, oldest first, with bytes or without."""
        return list(self._documents.values())

    @property
    def fulfillments(self) -> list[Fulfillment]:
        """All fulfillments, oldest first."""
        return self._requirements.fulfillments

    def steps(self) -> Iterable[Step]:
        """The methods and the form."""
        methods = {
            "init": ("document.create", self._create),
            "get": ("document.get", self._get),
            "list": ("document.list", self._list),
            "required": ("workflow.requiredDocument.list", self._requirements.list_required),
            "link": ("workflow.requiredDocument.fulfillment.batchAdd", self._requirements.add),
            "fulfillments": ("workflow.requiredDocument.fulfillment.list", self._requirements.list_fulfillments),
        }
        for name, (method, handle) in methods.items():
            yield Step(name, "POST", f"/kompliant/{method}", handle, self._access.error, body_subject)
        yield from self.forms.steps()

    def unknown(self) -> Step:
        """Kompliant answers 400 to a method that it doesn't have."""
        return unknown(self.name, HTTPStatus.BAD_REQUEST, self._access.error)

    def environment(self) -> Mapping[str, str]:
        """Base URL and the three parts of the credential."""
        return {
            "BULKUP_KOMPLIANT_BASE_URL": f"{self._stage.url}/kompliant",
            "BULKUP_KOMPLIANT_API_KEY": self._access.api_key,
            "BULKUP_KOMPLIANT_SECRET_KEY": self._access.secret_key,
            "BULKUP_KOMPLIANT_AUTH_TOKEN": self._access.auth_token,
        }

    async def state(self) -> Mapping[str, object]:
        """Documents with the hash of what came, and fulfillments."""
        return {
            "documents": [
                {
                    "id": document.id,
                    "subject": document.subject,
                    "name": document.name,
                    "status": document.status,
                    "size": document.stored.size if document.stored else None,
                    "sha256": document.stored.sha256.hex() if document.stored else None,
                    "key": self.forms.stored_as(document.key),
                }
                for document in self.documents
            ],
            "fulfillments": [fulfillment.render() for fulfillment in self.fulfillments],
        }

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await self._access.read(request, ["subject_record_id", "file_name", "file_size_in_bytes"])
        subject, name, size = (body[each] for each in ("subject_record_id", "file_name", "file_size_in_bytes"))
        if not isinstance(name, str) or not all(name.rpartition(".")[::2]):
            refuse("file_name must include the extension")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            refuse("file_size_in_bytes must be a number of bytes")
        self._check_subject(subject)
        if self.options.max_size is not None and size > self.options.max_size:
            refuse(f"a file may have {self.options.max_size} bytes", breach=False)
        id_, now = f"d_{secrets.token_urlsafe(16)}", self._stage.clock()
        document = KompliantDocument(id_, str(subject), name, size, self.options.pending, now, now)
        if self.options.extensions is not None and document.extension not in self.options.extensions:
            refuse(f"the file type {document.extension!r} is none of DOCUMENT_FILE_TYPES", breach=False)
        self._documents[id_] = self._by_key[document.key] = document
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        fields = {"Content-Type": content_type, "x-amz-meta-document-id": id_, **self.options.more_fields}
        url, values = self.forms.sign(document.key, fields, size, self.options.url_life, self.options.token_life)
        answer = {"document_id": id_, "upload_url": url, "presign_values": dict(sorted(values.items()))}
        return self._access.answer({"document": answer})

    def _landed(self, key: str) -> None:
        document = self._by_key[key.removeprefix("kompliant/")]
        document.stored = self._stage.store[key]
        document.status = self.options.processing or document.status
        self._stage.background.start(self._notice(document))

    async def _notice(self, document: KompliantDocument) -> None:
        """What the vendor does once the bytes have landed."""
        await asyncio.sleep(self.options.status_delay)
        subject = f"{document.subject}\n{document.name}"
        stored = document.stored
        if stored is None or self._stage.dice.outcome("job_never", "kompliant", subject):
            return
        wrong = self._stage.dice.outcome("wrong_hash", "kompliant", subject)
        content = await asyncio.to_thread(stored.read)
        document.hash = hashlib.sha256(content + (b"?" if wrong else b"")).digest()
        mismatch = self.options.check_type and not content.startswith(_MAGIC.get(document.extension, b""))
        failed = mismatch or self._stage.dice.outcome("job_failed", "kompliant", subject)
        document.status = self.options.failed if failed else self.options.uploaded
        document.updated = self._stage.clock()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        id_ = (await self._access.read(request, ["document_id"]))["document_id"]
        document = self._documents.get(str(id_))
        if document is None:
            missing(f"document {id_}")
        return self._access.answer({"document": document.render(self.options.hash_encoding, self.options.hash_before)})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        subject = (await self._access.read(request, ["subject_record_id"]))["subject_record_id"]
        self._check_subject(subject)
        documents = [document.listed() for document in self.documents if document.subject == subject]
        return self._access.answer({"documents": documents})

    def _check_subject(self, subject: object) -> None:
        known = self.options.subjects
        if subject not in known if known is not None else not str(subject).startswith("sr_"):
            missing(f"subject record {subject}")

    def _subject(self, key: str) -> str:
        document = self._by_key.get(key)
        return f"{document.subject}\n{document.name}" if document else ""
