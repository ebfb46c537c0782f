"""Reading and archiving documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web
from anyio import to_thread

from bulkup.sandbox.lightreach.access import Access
from bulkup.sandbox.lightreach.documents import Document, Documents
from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, json_answer

_ROOT: Final = "/lightreach/api/v2/accounts/{account}/documents"
_ONE: Final = f"{_ROOT}/{{document}}"


class Reads:
    """List, get, refresh, archive, and the proxy for sensitive documents.

    Args:
        stage: what all stand-ins share.
        options: the list's default order.
        access: checks the bearer.
        documents: what there is.
    """

    def __init__(self, stage: Stage, options: LightReachOptions, access: Access, documents: Documents) -> None:
        self._stage = stage
        self._options = options
        self._access = access
        self._documents = documents

    def steps(self) -> Iterable[Step]:
        """The requests served."""
        yield Step("list", "GET", _ROOT, self._list)
        yield Step("get", "GET", _ONE, self._get)
        yield Step("refresh", "POST", f"{_ONE}/refresh-urls", self._get)
        yield Step("archive", "DELETE", _ONE, self._archive)
        yield Step("proxy", "GET", f"{_ONE}/files/{{number:[0-9]+}}", self._proxy)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        account = self._access.check(request)
        archived = request.query.get("archived", "false")
        order = request.query.get("sort", self._options.default_sort)
        if archived not in ("true", "false"):
            raise RefusedError(400, "archived must be true or false")
        if order not in ("ID_DESC", "ID_ASC"):
            raise RefusedError(400, "sort must be ID_DESC or ID_ASC")
        found = self._documents.of_account(account, archived=archived == "true")
        ordered = found if order == "ID_ASC" else reversed(found)
        return json_answer([self._documents.render(document) for document in ordered])

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return json_answer(self._documents.render(self._find(request)))

    async def _archive(self, request: web.Request) -> web.StreamResponse:
        document = self._find(request)
        document.archived = True
        document.updated = self._stage.clock()
        return web.Response(status=204)

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        document = self._find(request)
        number = int(request.match_info["number"])
        if document.type not in self._options.sensitive_types or number >= len(document.files):
            raise RefusedError(404, "unknown file", breach=False)
        file = document.files[number]
        return web.Response(body=await to_thread.run_sync(file.stored.read), content_type=file.content_type)

    def _find(self, request: web.Request) -> Document:
        account = self._access.check(request)
        document = self._documents.find(account, request.match_info["document"])
        if document is None:
            raise RefusedError(404, "unknown document", breach=False)
        return document
