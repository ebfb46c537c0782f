"""A web server with objects, for what no real object store does on demand: to break off, to change in the middle.

It knows ranges, ETags and Last-Modified as RFC 9110 has them. It serves ``/KEY``, and below ``/BUCKET/`` what S3, GCS
and Azure clients ask for; signatures it does not check, which `tests/test_sources_s3.py` has a real server for.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from ssl import SSLContext
from urllib.parse import unquote

from aiohttp import web

PIECE = 64 * 1024
LARGE = 1024 * 1024


@dataclass
class Item:
    """An object."""

    data: bytes
    modified: int = 1_700_000_000
    etag: str | None = None

    def headers(self, server: Web) -> dict[str, str]:
        """What is told of it."""
        told = {}
        if server.tells_modified:
            told["Last-Modified"] = format_datetime(datetime.fromtimestamp(self.modified, UTC), usegmt=True)
        if server.tells_etag:
            told["ETag"] = self.etag or f'"{hashlib.md5(self.data).hexdigest()}"'  # noqa: S324 - as S3 does
        return told


@dataclass
class Web:
    """A server and what it holds.

    Attributes:
        items: by path, decoded.
        asked: method, path and Range of each request.
        refusals: by path, the status of an answer without anything.
        breaks: by path, after how many bytes of their bodies the next answers break off.
        midway: by path, called once in the middle of the next large body.
        together: until so many requests are there at a time, none is answered.
        ranges: whether it knows them.
        heads: whether it answers HEAD.
    """

    url: str = ""
    items: dict[str, Item] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    breaks: dict[str, list[int]] = field(default_factory=dict)
    midway: dict[str, Callable[[], None]] = field(default_factory=dict)
    ranges: bool = True
    heads: bool = True
    tells_etag: bool = True
    tells_modified: bool = True
    together: int = 0
    crowd: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    most_in_flight: int = 0
    connections: set[asyncio.Transport] = field(default_factory=set)

    def put(self, path: str, data: bytes) -> str:
        """Keep an object; gives its URL."""
        self.items[path] = Item(data)
        return f"{self.url}{path}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.transport is not None:
            self.connections.add(request.transport)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.in_flight >= self.together:
            self.crowd.set()
        try:
            await self.crowd.wait()
            return await self._serve(request)
        finally:
            self.in_flight -= 1

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.raw_path.partition("?")[0])
        asked = request.headers.get("Range", "")
        self.asked.append((request.method, path, asked))
        if (status := self.refusals.get(path)) is not None:
            return web.Response(status=status)
        if request.method == "HEAD" and not self.heads:
            return web.Response(status=405)
        item = self.items.get(path)
        if item is None:
            return web.Response(status=404)
        headers = item.headers(self)
        match = request.headers.get("If-Match")
        if match is not None and match != headers.get("ETag"):
            return web.Response(status=412)
        begin, end, status = 0, len(item.data), 200
        if asked and self.ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            begin, end, status = int(first), min(int(last) + 1 if last else end, end), 206
            if begin >= len(item.data):
                return web.Response(status=416)
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(item.data)}"
        return await self._body(request, path, item.data[begin:end], status, headers)

    async def _body(
        self, request: web.Request, path: str, data: bytes, status: int, headers: dict[str, str]
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(len(data))})
        with suppress(ConnectionError):  # whoever asked has given up
            await self._write(answer, request, path, data)
        return answer

    async def _write(self, answer: web.StreamResponse, request: web.Request, path: str, data: bytes) -> None:
        await answer.prepare(request)
        if request.method == "HEAD":
            return
        breaks = self.breaks.get(path)
        stop = breaks.pop(0) if breaks and len(data) > breaks[0] else None
        middle = len(data) // PIECE // 2 * PIECE if len(data) > LARGE else -1
        for start in range(0, len(data), PIECE):
            if start == middle and (change := self.midway.pop(path, None)) is not None:
                change()
            piece = data[start : start + PIECE]
            if stop is not None and start + len(piece) > stop:
                await answer.write(piece[: stop - start])
                assert request.transport is not None
                request.transport.close()
                return
            await answer.write(piece)


@asynccontextmanager
async def serving(tls: SSLContext | None = None) -> AsyncIterator[Web]:
    """A server on loopback."""
    held = Web()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", held.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        held.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        yield held
    finally:
        for connection in held.connections:  # what nobody reads would keep it open
            connection.abort()
        await runner.cleanup()


@contextmanager
def beside(bucket: str, folder: Path) -> Iterator[str]:
    """The files of a folder as a bucket, served by a thread; gives the server's URL."""
    files = {f"/{bucket}/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ready: Future[tuple[str, Callable[[], object]]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with serving() as server:
            for path, data in files.items():
                server.put(path, data)
            ready.set_result((server.url, partial(asyncio.get_running_loop().call_soon_threadsafe, over.set)))
            await over.wait()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, serve())
        url, stop = ready.result(10)
        try:
            yield url
        finally:
            stop()
