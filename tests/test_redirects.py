"""No redirect is followed: no byte and no credential goes to where it points."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

import bulkup
from bulkup.sandbox import Sandbox
from tests.conftest import Archive
from tests.test_conformance import fill
from tests.vendors import CASES, Case

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUSES = (301, 302, 303, 307, 308)
BY_ID = {case.id: case for case in CASES}


class Redirecting(Sandbox):
    """Answers requests with redirects to another server.

    Attributes:
        where: decides which requests, by method and path.
        status: of the redirects.
        target: the other server's URL.
        times: how many redirects there were.
    """

    where: Callable[[str, str], bool] = staticmethod(lambda _method, _path: False)
    status = 302
    target = ""
    times = 0

    def _application(self) -> web.Application:
        application = super()._application()

        @web.middleware
        async def redirecting(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self.where(request.method, request.path):
                return await handler(request)
            while await request.content.readany():
                pass
            self.times += 1
            return web.Response(status=self.status, headers={"Location": self.target + request.path_qs})

        application.middlewares.append(redirecting)
        return application


@asynccontextmanager
async def elsewhere() -> AsyncIterator[tuple[str, list[str]]]:
    """Another server on this machine, which takes all; its URL and what it was asked."""
    asked: list[str] = []

    async def take(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path} {dict(request.headers)}")
        return web.json_response({})

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


_PLACES: dict[str, Callable[[str, str], bool]] = {
    "login": lambda _, path: "oauth" in path,
    "init": lambda method, path: method == "POST" and not path.startswith("/store") and "oauth" not in path,
    "package": lambda method, path: method == "POST" and not path.startswith("/store"),
    "v1": lambda method, path: method == "POST" and "/api/accounts/" in path,
    "put": lambda method, path: method == "PUT" and (path.startswith("/store") or "/alloy/" in path),
    "form": lambda method, path: method == "POST" and path.startswith("/store"),
    "update": lambda method, path: method == "PUT" and "/loanpro/" in path,
    "get": lambda _, path: path.endswith("/document.get"),
    "required": lambda _, path: path.endswith("requiredDocument.list"),
    "link": lambda _, path: path.endswith("fulfillment.batchAdd"),
}
"""Where the requests of the conformance cases go."""
CELLS = [
    pytest.param(case, step, STATUSES[number % len(STATUSES)], id=f"{case.id}-{step}")
    for number, (case, step) in enumerate((case, step) for case in CASES for step in case.steps if step in _PLACES)
]


@pytest.mark.parametrize(("case", "step", "status"), CELLS)
async def test_a_redirect_fails_the_row(archive: Archive, case: Case, step: str, status: int) -> None:
    """Each kind of request: the row does not complete, the error names the status, nobody is asked elsewhere."""
    fill(archive, case, 2)
    async with elsewhere() as (target, asked), Redirecting(options=case.options or ()) as sandbox:
        sandbox.where, sandbox.status, sandbox.target = _PLACES[step], status, target
        environment = sandbox.environment() | dict(case.settings)
        summary = await archive.upload(sandbox, environment=environment, retry_for=5, job_timeout=1)
        assert (summary.completed, sandbox.times > 0) == (0, True)
        told = [str(end.error) for end in archive.ended().values()] + archive.notices()
        assert any(f"HTTP {status}" in text for text in told), told
        assert asked == []
        assert not sandbox.leaks


async def test_a_redirected_job_is_not_followed_there(archive: Archive) -> None:
    """The stream of a job and its poll: the rows stay open or unknown, and nobody is asked elsewhere."""
    fill(archive, BY_ID["lightreach"], 2)
    async with elsewhere() as (target, asked), Redirecting() as sandbox:
        sandbox.where, sandbox.target = lambda method, path: method == "GET" and "/store/" not in path, target
        summary = await archive.upload(sandbox, job_timeout=1)
        assert (summary.completed, sandbox.times > 1) == (0, True)
        assert asked == []
        sandbox.where = lambda _method, _path: False
        assert (await archive.upload(sandbox)).completed == 2  # what was sent is found, not sent again
        assert len(sandbox.lightreach.documents) == 2


@pytest.mark.parametrize(
    ("provider", "id_"), [("lightreach", "lightreach"), ("loanpro", "loanpro"), ("alloy", "alloy")]
)
@pytest.mark.parametrize("at", ["api", "store"])
async def test_a_redirected_download(archive: Archive, provider: str, id_: str, at: str) -> None:
    """Downloads, by the API with credentials or by a signed URL, fail, and nobody is asked elsewhere."""
    fill(archive, BY_ID[id_], 1)
    async with elsewhere() as (target, asked), Redirecting() as sandbox:
        await archive.upload(sandbox)
        (row,) = archive.ledger_rows()
        store = at == "store"
        sandbox.where = lambda method, path: method == "GET" and path.startswith("/store/") is store
        sandbox.target = target
        async with bulkup.connect(provider, environment=sandbox.environment(), retry_for=0.1) as client:
            if store and provider == "alloy":  # which gives the bytes itself
                assert await client.download_document(row["target"], row["document_id"])
                return
            with pytest.raises(bulkup.StepError, match="302"):
                await client.download_document(row["target"], row["document_id"])
        assert sandbox.times > 0
        assert asked == []
