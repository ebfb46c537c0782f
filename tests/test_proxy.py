"""A proxy of the environment: what goes through it, what does not, and what it may see."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from bulkup.sandbox import Sandbox
from tests.conftest import Archive
from tests.test_tls import at
from tests.tls import behind_tls, pipe, served_by, written

HOST = "vendor.invalid"
PASSWORD = "hunter2"  # noqa: S105 - a test's


class Proxy:
    """A proxy that makes tunnels (RFC 9110, 9.3.6) to one place, whatever it is asked for.

    Attributes:
        url: with credentials.
        heads: what it was asked for.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.refuses = False
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One tunnel."""
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if self.refuses:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()


@asynccontextmanager
async def proxying(url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of a server."""
    proxy = Proxy(urlsplit(url).port or 0)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://me:{PASSWORD}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


@asynccontextmanager
async def vendor(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Proxy, Sandbox, dict[str, str], Path]]:
    """A vendor at a host that only the proxy knows, with two documents to be sent there."""
    for name in ("a.pdf", "b.pdf"):
        archive.add(name, b"%PDF-1.7 " + name.encode())
    authority = trustme.CA()
    trusted = written(authority, archive.folder / "ca.pem")
    tls = served_by(authority, authority.issue_cert(HOST))
    async with Sandbox() as sandbox, behind_tls(sandbox, tls) as url, proxying(url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        named = f"https://{HOST}"
        monkeypatch.setattr(sandbox._stage, "url", named)  # what its URLs begin with
        yield proxy, sandbox, at(named, sandbox), trusted


async def test_all_goes_through_the_proxy(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """API, store and streams go through tunnels; the proxy gets its own credentials and sees none of the vendor's."""
    async with vendor(archive, monkeypatch) as (proxy, sandbox, environment, trusted):
        summary = await archive.upload(sandbox, environment=environment, ca_file=trusted)
        assert (summary.completed, summary.exit_code) == (2, 0), archive.ended()
        assert not sandbox.breaches
        seen = "".join(proxy.heads)
        assert proxy.heads
        assert all(head.startswith(f"CONNECT {HOST}:443 ") for head in proxy.heads)
        assert base64.b64encode(f"me:{PASSWORD}".encode()).decode() in seen
        assert "Bearer" not in seen


async def test_a_proxy_that_refuses(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reached the vendor, so the rows stay pending; what is said names no password."""
    async with vendor(archive, monkeypatch) as (proxy, sandbox, environment, trusted):
        proxy.refuses = True
        summary = await archive.upload(sandbox, environment=environment, ca_file=trusted)
        assert (summary.completed, summary.exit_code) == (0, 1)
        assert any("the proxy refused: HTTP 407" in notice for notice in archive.notices())
        assert PASSWORD not in repr(archive.events)
        assert not sandbox.requests


async def test_this_machine_is_reached_without_it(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox needs no proxy, and a proxy could not reach it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    archive.add("a.pdf", b"%PDF-1.7")
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox)).exit_code == 0


async def test_a_host_of_no_proxy(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is obeyed: the name that only the proxy knows is looked up here, and not found."""
    async with vendor(archive, monkeypatch) as (proxy, sandbox, environment, trusted):
        monkeypatch.setenv("NO_PROXY", HOST)
        summary = await archive.upload(sandbox, environment=environment, ca_file=trusted)
        assert (summary.completed, proxy.heads) == (0, [])
