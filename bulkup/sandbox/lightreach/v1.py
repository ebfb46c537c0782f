"""The deprecated v1 upload: one multipart request, answered when the documents are persisted."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from aiohttp import BodyPartReader, web

from bulkup.sandbox.lightreach import init
from bulkup.sandbox.lightreach.access import Access
from bulkup.sandbox.lightreach.documents import DocumentFile
from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.lightreach.uploads import Uploads
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, json_answer


class V1:
    """The fallback where signed URLs are not available; its fields are ``type``, ``grouped`` and ``files[]``.

    Args:
        stage: what all stand-ins share.
        options: types and extensions.
        access: checks the bearer.
        uploads: persists the documents.
    """

    def __init__(self, stage: Stage, options: LightReachOptions, access: Access, uploads: Uploads) -> None:
        self._stage = stage
        self._options = options
        self._access = access
        self._uploads = uploads

    def steps(self) -> Iterable[Step]:
        """The one request."""
        yield Step("v1", "POST", "/lightreach/api/accounts/{account}/documents", self._upload)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        account = self._access.check(request)
        texts, contents = await _read_form(request)
        kind = init.check_type(texts.get("type"), self._options)
        grouped = texts.get("grouped", str(kind not in self._options.split_types).lower())
        if grouped not in ("true", "false"):
            raise RefusedError(400, "grouped must be true or false")
        if not contents:
            raise RefusedError(400, "files[] must have at least one file")
        types = [init.content_type(name, self._options) for name, _ in contents]
        batch = secrets.token_urlsafe(16)
        files: list[DocumentFile] = []
        for number, (name, content) in enumerate(contents):
            key = f"lightreach/documents/{batch}/{number}.{init.extension(name)}"
            stored = await self._stage.store.put_bytes(key, content)
            await self._stage.store.hash(stored)
            is_wrong = self._stage.dice.outcome("wrong_hash", "lightreach", f"{account}\n{name}") is not None
            files.append(DocumentFile(name, types[number], key, stored, is_wrong))
        added = self._uploads.add_documents(account, kind, None, files, grouped=grouped == "true")
        return json_answer([self._uploads.documents.render(document) for document in added])


async def _read_form(request: web.Request) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """The text fields, and the files as name and bytes."""
    if request.content_type != "multipart/form-data":
        raise RefusedError(400, "the body must be multipart/form-data")
    texts: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise RefusedError(400, "nested multipart is not understood")
            if part.name == "files[]":
                if not part.filename:
                    raise RefusedError(400, "each files[] part needs a filename")
                files.append((part.filename, bytes(await part.read())))
            else:
                texts[part.name or ""] = await part.text()
    except (ValueError, AssertionError):
        raise RefusedError(400, "the form can't be read") from None
    return texts, files
