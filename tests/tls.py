"""A sandbox behind TLS: certificates of an authority of the tests' own, and a proxy that speaks TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trustme

from bulkup.sandbox import Sandbox


def served_by(authority: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """A server's side of TLS; by default with a certificate for ``localhost``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (certificate or authority.issue_cert("localhost")).configure_cert(context)
    return context


def written(authority: trustme.CA, path: Path) -> Path:
    """The authority's own certificate as a file."""
    authority.cert_pem.write_to_path(str(path))
    return path


@asynccontextmanager
async def behind_tls(sandbox: Sandbox, tls: ssl.SSLContext) -> AsyncIterator[str]:
    """A proxy in front of a sandbox; gives its URL. Without a handshake nothing gets through."""
    port = int(sandbox.url.rpartition(":")[2])
    busy: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(asyncio.current_task())
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        tasks = [task for task in busy if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
