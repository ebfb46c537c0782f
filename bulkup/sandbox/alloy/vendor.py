"""The Alloy stand-in."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import orjson
from aiohttp import web

from bulkup.sandbox.alloy.access import Access, long_error, refuse
from bulkup.sandbox.alloy.options import AlloyOptions
from bulkup.sandbox.objectstore.objects import StoredObject
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step, body_subject, json_answer
from bulkup.sandbox.vendor import Vendor, VendorOptions

_ROOT: Final = "/alloy/entities/{entity}/documents"
_TYPES: Final = ("contract", "license", "passport", "utility", "other", "internal")
_BODY: Final = "Request Body Validation Failure"
_HEADER: Final = "Header Validation Failure"


@dataclass(slots=True)
class AlloyDocument:
    """A document, from its description on.

    Args:
        token: ``D-...``.
        entity: the entity's token.
        description: what the describe call said of it.
        timestamp: when, in epoch milliseconds.
        stored: the bytes, once they came.
        puts: how often bytes were accepted.
    """

    token: str
    entity: str
    description: Mapping[str, str]
    timestamp: int
    stored: StoredObject | None = None
    puts: int = field(default=0)

    @property
    def key(self) -> str:
        """Where its bytes are in the object store."""
        return f"alloy/{self.entity}/{self.token}"

    def render(self, *, uploaded: bool) -> Mapping[str, object]:
        """As all calls answer it."""
        notes = []
        if "note" in self.description:
            author = self.description.get("note_author_agent_email")
            at = {"created_at": self.timestamp, "updated_at": self.timestamp}
            notes = [{"note": self.description["note"], "note_author_agent_email": author, **at}]
        return {
            "document_token": self.token,
            "type": self.description["type"],
            "name": self.description["name"],
            "extension": self.description["extension"],
            "uploaded": uploaded,
            "timestamp": self.timestamp,
            "approved": None,
            "approval_agent_email": None,
            "approval_timestamp": None,
            "notes": notes,
        }


class Alloy(Vendor):
    """Alloy's documents of entities, under ``/alloy``."""

    name: ClassVar[str] = "alloy"
    options_type: ClassVar[type[VendorOptions]] = AlloyOptions

    def __init__(self, stage: Stage, options: VendorOptions) -> None:
        assert isinstance(options, AlloyOptions)  # noqa: S101 # the sandbox picks by `options_type`
        self.options = options
        self._stage = stage
        self.access = Access(stage, options)
        self._documents: dict[str, AlloyDocument] = {}

    @property
    def documents(self) -> list[AlloyDocument]:
        """All documents, oldest first, with bytes or without."""
        return list(self._documents.values())

    def steps(self) -> Iterable[Step]:
        """Login, describe, PUT, list and download."""
        yield from self.access.steps()
        yield Step("init", "POST", _ROOT, self._describe, long_error, body_subject)
        yield Step("put", "PUT", f"{_ROOT}/{{document}}", self._put, long_error, self._subject)
        yield Step("list", "GET", _ROOT, self._list, long_error)
        yield Step("download", "GET", f"{_ROOT}/{{document}}", self._download, long_error)

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
        description = _description(await request.read())
        agent = description.get("note_author_agent_email")
        if agent is not None and (
            agent not in self.options.agents if self.options.agents is not None else "@" not in agent
        ):
            refuse(400, 4002, _BODY, f"{agent} is no agent of this account", breach=False)
        token = f"D-{secrets.token_urlsafe(16)}"
        document = AlloyDocument(token, entity, description, round(self._stage.clock() * 1000))
        self._documents[token] = document
        return json_answer(document.render(uploaded=False), self.options.created)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        with self._stage.record.requests.puts.one():
            document = self._find(request)
            if request.headers.get("Content-Type") != "application/octet-stream":
                refuse(400, 4001, _HEADER, "content-type must be application/octet-stream")
            size = request.content_length
            if size is None or "Transfer-Encoding" in request.headers:
                refuse(411, 4001, _HEADER, "Content-Length is required")
            if self.options.max_size is not None and size > self.options.max_size:
                refuse(413, 4000, "Bad Request", f"at most {self.options.max_size} bytes are allowed", breach=False)
            if document.stored is not None and not self.options.overwrite:
                refuse(409, 4091, "Conflict", "the document was uploaded before", breach=False)
            await self._stage.store.put(document.key, request.content, size)
            document.stored = self._stage.store[document.key]
            document.puts += 1
            answer = document.render(uploaded=not self.options.never_uploaded)
            if self.options.never_uploaded:
                document.stored = None
            return json_answer([answer] if self.options.put_answer == "array" else answer)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        entity = self._entity(request)
        listed = [document for document in self.documents if document.entity == entity]
        return json_answer([document.render(uploaded=document.stored is not None) for document in listed])

    async def _download(self, request: web.Request) -> web.StreamResponse:
        document = self._find(request)
        if document.stored is None:
            refuse(404, 4041, "Not Found", "the document has no bytes yet", breach=False)
        return web.Response(body=document.stored.read(), content_type="application/octet-stream")

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
        return f"{request.path}\n{document.description['name'] if document else ''}"


def _description(body: bytes) -> Mapping[str, str]:
    """What a describe call says, by the guide."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        refuse(400, 4002, _BODY, "the body is not valid JSON")
    if not isinstance(given, dict):
        refuse(400, 4002, _BODY, "the body must be a JSON object")
    required, optional = {"name", "extension", "type"}, {"note", "note_author_agent_email"}
    if extra := sorted(given.keys() - required - optional):
        refuse(400, 4002, _BODY, f"unknown: {', '.join(extra)}")
    for name in sorted(required):
        if not given.get(name):
            refuse(400, 4002, _BODY, f"{name} is required")
    for name, value in given.items():
        if not isinstance(value, str):
            refuse(400, 4002, _BODY, f"{name} must be text")
    if given["type"] not in _TYPES:
        refuse(400, 4002, _BODY, f"type must be one of {', '.join(_TYPES)}")
    if "." in given["extension"]:
        refuse(400, 4002, _BODY, "extension must be without a dot")
    return given
