"""The Alloy stand-in."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from aiohttp import web
from anyio import to_thread

from bulkup.sandbox.alloy.access import Access
from bulkup.sandbox.alloy.documents import AlloyDocument, description
from bulkup.sandbox.alloy.errors import Errors, bad_body, bad_header, refuse
from bulkup.sandbox.alloy.options import AlloyOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step, body_subject, json_answer, unknown
from bulkup.sandbox.vendor import Vendor, VendorOptions

_ROOT: Final = "/alloy/entities/{entity}/documents"


class Alloy(Vendor):
    """Alloy's documents of entities, under ``/alloy``."""

    name: ClassVar[str] = "alloy"
    options_type: ClassVar[type[VendorOptions]] = AlloyOptions

    def __init__(self, stage: Stage, options: VendorOptions) -> None:
        assert isinstance(options, AlloyOptions)  # noqa: S101 # the sandbox picks by `options_type`
        self.options = options
        self._stage = stage
        self._errors = Errors(stage, options)
        self.access = Access(stage, options, self._errors)
        self._documents: dict[str, AlloyDocument] = {}

    @property
    def documents(self) -> list[AlloyDocument]:
        """All documents, oldest first, with bytes or without."""
        return list(self._documents.values())

    def forget(self, token: str) -> None:
        """Let a document vanish; whether unfinished ones ever do is not known."""
        del self._documents[token]

    def steps(self) -> Iterable[Step]:
        """Login, describe, PUT, list and download."""
        yield from self.access.steps()
        error = self._errors.long
        yield Step("init", "POST", _ROOT, self._describe, error, body_subject)
        yield Step("put", "PUT", f"{_ROOT}/{{document}}", self._put, error, self._subject)
        yield Step("list", "GET", _ROOT, self._list, error)
        yield Step("download", "GET", f"{_ROOT}/{{document}}", self._download, error)

    def unknown(self) -> Step:
        """404 in Alloy's own form."""
        return unknown(self.name, error=self._errors.long)

    def environment(self) -> Mapping[str, str]:
        """Base URL, token and secret."""
        return {
            "BULKUP_ALLOY_BASE_URL": f"{self._stage.url}/alloy",
            "BULKUP_ALLOY_TOKEN": self.access.token,
            "BULKUP_ALLOY_SECRET": self.access.secret,
        }

    async def state(self) -> Mapping[str, object]:
        """All documents, with the hash of what came."""
        return {
            "documents": [
                {
                    "token": document.token,
                    "entity": document.entity,
                    **document.description,
                    "uploaded": document.stored is not None,
                    "size": document.stored.size if document.stored else None,
                    "sha256": document.stored.sha256.hex() if document.stored else None,
                }
                for document in self.documents
            ]
        }

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        entity = self._entity(request)
        if request.content_type != "application/json":
            bad_header("content-type must be application/json")
        said = description(await request.read(), self.options)
        token = f"D-{secrets.token_urlsafe(16)}"
        document = AlloyDocument(token, entity, said, round(self._stage.clock() * 1000))
        self._documents[token] = document
        return json_answer(document.render(uploaded=False), self.options.created)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        with self._stage.record.requests.puts.one():
            document = self._find(request)
            if request.headers.get("Content-Type") != "application/octet-stream":
                bad_header("content-type must be application/octet-stream")
            size = request.content_length
            if size is None or "Transfer-Encoding" in request.headers:
                bad_header("Content-Length is required", 411)
            if self.options.max_size is not None and size > self.options.max_size:
                refuse(413, 4000, "Bad Request", f"at most {self.options.max_size} bytes are allowed", breach=False)
            if document.stored is not None and not self.options.overwrite:
                refuse(409, 4091, "Conflict", "the document was uploaded before", breach=False)
            await self._stage.store.put(document.key, request.content, size)
            document.puts += 1
            document.stored = None if self.options.never_uploaded else self._stage.store[document.key]
            answer = document.render(uploaded=document.stored is not None)
            return json_answer([answer] if self.options.put_answer == "array" else answer)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        entity = self._entity(request)
        if request.query or request.can_read_body:
            bad_body("a list takes no parameters and no body")
        listed = [
            document
            for document in self.documents
            if document.entity == entity and (document.stored or self.options.list_unfinished)
        ]
        return json_answer([document.render(uploaded=document.stored is not None) for document in listed])

    async def _download(self, request: web.Request) -> web.StreamResponse:
        document = self._find(request)
        if request.query or request.can_read_body:
            bad_body("a download takes no parameters and no body")
        if document.stored is None and self.options.download_before == "missing":
            refuse(404, 4041, "Not Found", "the document has no bytes yet", breach=False)
        body = b"" if document.stored is None else await to_thread.run_sync(document.stored.read)
        return web.Response(body=body, headers={"Content-Type": self.options.download_type})

    def _entity(self, request: web.Request) -> str:
        self.access.check(request)
        entity = request.match_info["entity"]
        if self.options.entities is not None and entity not in self.options.entities:
            refuse(403, 4013, "Forbidden", f"not authorized for entity {entity}, or it does not exist", breach=False)
        return entity

    def _find(self, request: web.Request) -> AlloyDocument:
        entity = self._entity(request)
        document = self._documents.get(request.match_info["document"])
        if document is None or document.entity != entity:
            refuse(404, 4041, "Not Found", "there is no such document", breach=False)
        return document

    async def _subject(self, request: web.Request) -> str:
        document = self._documents.get(request.match_info["document"])
        return f"{request.path}\n{document.description.get('name', '') if document else ''}"
