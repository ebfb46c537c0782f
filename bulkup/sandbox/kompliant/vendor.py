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

from bulkup.sandbox.kompliant.access import Access, error, missing, refuse
from bulkup.sandbox.kompliant.documents import Fulfillment, KompliantDocument, Required
from bulkup.sandbox.kompliant.options import KompliantOptions
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
        self.forms = Forms(stage, "kompliant", _ORDER, self._landed, self._subject)
        self._documents: dict[str, KompliantDocument] = {}
        self._by_key: dict[str, KompliantDocument] = {}
        self.required = [
            Required(f"rd_{workflow.removeprefix('w_')}_{code.lower()}", code, workflow)
            for workflow, (_, codes) in options.workflows.items()
            for code in codes
        ]
        self.fulfillments: list[Fulfillment] = []

    @property
    def documents(self) -> list[KompliantDocument]:
        """All document records, oldest first, with bytes or without."""
        return list(self._documents.values())

    def steps(self) -> Iterable[Step]:
        """The methods and the form."""
        methods = {
            "init": ("document.create", self._create),
            "get": ("document.get", self._get),
            "list": ("document.list", self._list),
            "required": ("workflow.requiredDocument.list", self._list_required),
            "link": ("workflow.requiredDocument.fulfillment.batchAdd", self._link),
            "fulfillments": ("workflow.requiredDocument.fulfillment.list", self._list_fulfillments),
        }
        for name, (method, handle) in methods.items():
            yield Step(name, "POST", f"/kompliant/{method}", handle, error, body_subject)
        yield from self.forms.steps()

    def unknown(self) -> Step:
        """Kompliant answers 400 to a method that it doesn't have."""
        return unknown(self.name, HTTPStatus.BAD_REQUEST, error)

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
                }
                for document in self.documents
            ],
            "fulfillments": [fulfillment.render() for fulfillment in self.fulfillments],
        }

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await self._access.read(request)
        subject, name, size = (body.get(each) for each in ("subject_record_id", "file_name", "file_size_in_bytes"))
        self._check_subject(subject)
        if not isinstance(name, str) or not name.rpartition(".")[0]:
            refuse("file_name must include the extension")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            refuse("file_size_in_bytes is required")
        id_ = f"d_{secrets.token_urlsafe(16)}"
        document = KompliantDocument(id_, str(subject), name, size, self.options.pending, self._stage.clock())
        if document.extension not in self.options.extensions:
            refuse(f"the file type {document.extension!r} is none of DOCUMENT_FILE_TYPES", breach=False)
        self._documents[id_] = self._by_key[document.key] = document
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        fields = {"Content-Type": content_type, "x-amz-meta-document-id": id_}
        url, values = self.forms.sign(document.key, fields, size, self.options.url_life)
        answer = {"document_id": id_, "upload_url": url, "presign_values": dict(sorted(values.items()))}
        return self._access.answer({"document": answer})

    def _landed(self, key: str) -> None:
        document = self._by_key[key]
        document.stored = self._stage.store[key]
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

    async def _get(self, request: web.Request) -> web.StreamResponse:
        body = await self._access.read(request)
        document = self._documents.get(str(body.get("document_id")))
        if document is None:
            missing("such document")
        return self._access.answer({"document": document.render(self.options.hash_encoding)})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        subject = (await self._access.read(request)).get("subject_record_id")
        self._check_subject(subject)
        documents = [document.listed() for document in self.documents if document.subject == subject]
        return self._access.answer({"documents": documents})

    async def _list_required(self, request: web.Request) -> web.StreamResponse:
        workflow = self._workflow((await self._access.read(request)).get("workflow_id"))
        return self._access.answer(
            {"required_documents": [r.render() for r in self.required if r.workflow == workflow]}
        )

    async def _link(self, request: web.Request) -> web.StreamResponse:
        body = await self._access.read(request)
        workflow = self._workflow(body.get("workflow_id"))
        items = body.get("fulfillments")
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            refuse("fulfillments must be a non-empty array of objects")
        if workflow in self.options.ended:
            refuse("the workflow has ended", "SYSTEM_RULE_VIOLATION", "WORKFLOW_ENDED", breach=False)
        pairs = [(str(item.get("required_document_id")), str(item.get("document_id"))) for item in items]
        problems = [self._problem(workflow, *pair) for pair in pairs]
        if self.options.refuse_duplicates == "batch" and any(
            "duplicate" in words for _, words in filter(None, problems)
        ):
            refuse("a duplicate fulfillment", "SYSTEM_RULE_VIOLATION", breach=False)
        added = [
            None if problem else Fulfillment(f"f_{secrets.token_urlsafe(16)}", *pair, self._stage.clock())
            for pair, problem in zip(pairs, problems, strict=True)
        ]
        self.fulfillments += [fulfillment for fulfillment in added if fulfillment]
        results = []
        for item, problem, fulfillment in zip(items, problems, added, strict=True):
            if problem is not None:
                code, words = problem
                errors = [{"code": code, "message": words}]
                results.append({"request": item, "status": "ERROR", "errors": errors})
            elif fulfillment is not None and self.options.batch_form == "flat":
                results.append(dict(fulfillment.render()))
            elif fulfillment is not None:
                results.append({"request": item, "status": "SUCCESS", "data": fulfillment.render()})
        return self._access.answer({"fulfillments": results})

    async def _list_fulfillments(self, request: web.Request) -> web.StreamResponse:
        body = await self._access.read(request)
        required = body.get("required_document_id")
        if all(each.id != required for each in self.required):
            missing(f"required document {required}")
        filters = body.get("filters")
        wanted = filters if isinstance(filters, dict) else {}
        found = [
            fulfillment.render()
            for fulfillment in self.fulfillments
            if fulfillment.required == required
            and wanted.get("decision_status", "PENDING") == "PENDING"
            and wanted.get("document_upload_status", self._documents[fulfillment.document].status)
            == self._documents[fulfillment.document].status
        ]
        return self._access.answer({"fulfillments": found})

    def _problem(self, workflow: str, required: str, document: str) -> tuple[str, str] | None:
        """Why a document can't fulfil a required one."""
        found = self._documents.get(document)
        if all((each.id, each.workflow) != (required, workflow) for each in self.required):
            return "ENTITY_NOT_FOUND", f"there is no required document {required} in {workflow}"
        if found is None:
            return "ENTITY_NOT_FOUND", f"there is no document {document}"
        subject = self.options.workflows[workflow][0]
        if subject and found.subject != subject:
            return "SYSTEM_RULE_VIOLATION", "the document belongs to another subject record"
        if any((each.required, each.document) == (required, document) for each in self.fulfillments):
            return "SYSTEM_RULE_VIOLATION", "a duplicate of an existing fulfillment"
        return None

    def _workflow(self, workflow: object) -> str:
        if not isinstance(workflow, str) or workflow not in self.options.workflows:
            missing(f"workflow {workflow}")
        return workflow

    def _check_subject(self, subject: object) -> None:
        if not isinstance(subject, str) or not subject:
            refuse("subject_record_id is required")
        known = self.options.subjects
        if subject not in known if known is not None else not subject.startswith("sr_"):
            missing(f"subject record {subject}")

    def _subject(self, key: str) -> str:
        document = self._by_key.get(key)
        return f"{document.subject}\n{document.name}" if document else ""
