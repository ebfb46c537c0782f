"""The Auco stand-in."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import orjson
from aiohttp import web

from bulkup.sandbox.auco.fields import refuse
from bulkup.sandbox.auco.options import AucoOptions
from bulkup.sandbox.auco.process import parse
from bulkup.sandbox.objectstore.bucket import Bucket
from bulkup.sandbox.objectstore.objects import StoredObject
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, body_subject, json_answer, json_error, unknown
from bulkup.sandbox.vendor import Vendor, VendorOptions


@dataclass(slots=True)
class Process:
    """A signature process: people were told of it, and it cost credits.

    Args:
        code: the document's.
        package: the process's.
        fields: what the create call said, without the PDF.
        has_document: it is about a document; else only attachments are asked for.
        notifies_at_once: its signers are told before the PDF comes.
        stored: the PDF, once it came.
        status: of the document.
    """

    code: str
    package: str
    fields: Mapping[str, Any]
    has_document: bool
    notifies_at_once: bool
    stored: StoredObject | None = None
    status: str = "CREATED"

    @property
    def key(self) -> str:
        """Where its PDF is in the object store."""
        return f"auco/{self.code}.pdf"

    @property
    def notified(self) -> bool:
        """Whether its signers got a message."""
        return bool(self.fields.get("notification", True)) and (self.notifies_at_once or self.stored is not None)


class Auco(Vendor):
    """Auco's signature processes, under ``/auco``."""

    name: ClassVar[str] = "auco"
    options_type: ClassVar[type[VendorOptions]] = AucoOptions

    def __init__(self, stage: Stage, options: VendorOptions) -> None:
        assert isinstance(options, AucoOptions)  # noqa: S101 # the sandbox picks by `options_type`
        self.options = options
        self._stage = stage
        digest = hashlib.sha256(f"auco {stage.seed}".encode()).hexdigest()
        self.private_key, self.public_key = f"prk_{digest[:40]}", f"puk_{digest[24:]}"
        self.bucket = Bucket(stage, "auco", "s3", self._landed, self._subject, single_use=True)
        self._processes: dict[str, Process] = {}

    @property
    def processes(self) -> list[Process]:
        """All processes, oldest first, with a document or without."""
        return list(self._processes.values())

    def steps(self) -> Iterable[Step]:
        """Both creates, the reads, the cancel, and the bucket's PUT and GET."""
        yield Step("init", "POST", "/auco/document/upload", self._upload, self._error, body_subject)
        yield Step("package", "POST", "/auco/package/upload", self._package, self._error, body_subject)
        yield Step("get", "GET", "/auco/document", self._get, self._error)
        yield Step("attachments", "GET", "/auco/attachments", self._attachments, self._error)
        yield Step("cancel", "POST", "/auco/document/cancel", self._cancel, self._error, body_subject)
        yield from self.bucket.steps()

    def unknown(self) -> Step:
        """See `Vendor.unknown`."""
        return unknown(self.name, error=self._error)

    def environment(self) -> Mapping[str, str]:
        """Base URL and both keys."""
        return {
            "BULKUP_AUCO_BASE_URL": f"{self._stage.url}/auco",
            "BULKUP_AUCO_PRIVATE_KEY": self.private_key,
            "BULKUP_AUCO_PUBLIC_KEY": self.public_key,
        }

    async def state(self) -> Mapping[str, object]:
        """All processes, with the hash of what came."""
        return {
            "processes": [
                {
                    "code": process.code,
                    "package": process.package,
                    "fields": process.fields,
                    "status": process.status,
                    "notified": process.notified,
                    "size": process.stored.size if process.stored else None,
                    "sha256": process.stored.sha256.hex() if process.stored else None,
                }
                for process in self.processes
            ]
        }

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        return await self._create(request, package=False)

    async def _package(self, request: web.Request) -> web.StreamResponse:
        return await self._create(request, package=True)

    async def _create(self, request: web.Request, *, package: bool) -> web.StreamResponse:
        self._check(request)
        fields, pdf = parse(await request.read(), self.options, self._stage.clock(), package=package)
        kept = {name: value for name, value in fields.items() if name != "file"}
        has_document = pdf is not None or bool(fields.get("compress")) or "document" in fields
        at_once = self.options.notifies == "at_once"
        process = Process(secrets.token_hex(8).upper(), secrets.token_hex(12), kept, has_document, at_once)
        self._processes[process.code] = process
        if pdf is not None:
            process.stored = await self._stage.store.put_bytes(process.key, pdf)
        answer = {"package": process.package}
        if self.options.generation == "newer" and not package:
            answer = {"document": process.code}
        elif has_document:
            answer["code"] = process.code
        if fields.get("compress"):
            answer["url"] = self.bucket.sign_put(process.key, self.options.content_type, self.options.url_life).url
        return json_answer(answer, self.options.created)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        if "package" in request.query:
            package = request.query["package"]
            found = [process for process in self.processes if process.package == package]
            if not found:
                refuse("there is no such package", "DOCUMENT_NOT_FOUND", breach=False)
            codes = [process.code for process in found if process.has_document]
            name = found[0].fields.get("packageName", found[0].fields["name"])
            return json_answer({"_id": package, "codes": codes, "name": name, "signers": []})
        if "code" not in request.query:
            self._stage.record.breach("auco", "get", "without a code the templates are listed")
            return json_answer([])
        process = self._find(request.query["code"])
        if process.stored is None and self.options.without_bytes == "not_found":
            refuse("there is no such document", "DOCUMENT_NOT_FOUND", breach=False)
        url = self.bucket.sign_get(process.key, self.options.view_life).url if process.stored else ""
        signers = [
            {"name": signer["name"], "email": signer["email"], "status": "NOTIFICATION"}
            for signer in process.fields["signProfile"]
        ]
        answer = {
            "url": url,
            "name": process.fields["name"],
            "code": process.code,
            "status": process.status,
            "data": {},
            "signProfile": signers,
        }
        if "custom" in process.fields:
            answer["custom"] = process.fields["custom"]
        return json_answer(answer)

    async def _attachments(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        if ("code" in request.query) == ("package" in request.query):
            refuse("exactly one of code and package is required")
        raise RefusedError(400, "there are no attachments", {"code": "ATTACHMENT_NOT_FOUND"}, breach=False)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            refuse("the body is not valid JSON")
        codes = body.get("codes") if isinstance(body, dict) else None
        if not isinstance(codes, list) or not codes or not body.get("message") or not body.get("email"):
            refuse("codes, message and email are required")
        for process in [self._find(str(code)) for code in codes]:
            process.status = "REJECTED"
        return json_answer({"cancelled": codes})

    def _check(self, request: web.Request) -> None:
        key = self.public_key if request.method == "GET" else self.private_key
        if request.headers.get("Authorization") != key:
            raise RefusedError(401, "invalid or missing authentication", {"code": "UNAUTHORIZED"})
        if request.method != "GET" and request.content_type != "application/json":
            refuse("Content-Type must be application/json")

    def _error(self, status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
        """What a refusal looks like is not published."""
        if self.options.error_form == "json":
            return json_error(status, message, extra)
        words = message or HTTPStatus(status).phrase
        return web.Response(status=status, text=words if self.options.error_form == "text" else None)

    def _find(self, code: str) -> Process:
        process = self._processes.get(code)
        if process is None:
            refuse("there is no such document", "DOCUMENT_NOT_FOUND", breach=False)
        return process

    def _landed(self, key: str) -> None:
        process = self._processes[key.removeprefix("auco/").removesuffix(".pdf")]
        if not self._stage.dice.outcome("job_never", "auco", self._subject(key)):
            process.stored = self._stage.store[key]

    def _subject(self, key: str) -> str:
        process = self._processes.get(key.removeprefix("auco/").removesuffix(".pdf"))
        return f"{process.fields['email']}\n{process.fields['name']}" if process else ""
