"""What people write instead: the whole flow by aiohttp, requests or httpx; and our transfer client alone.

    python -m benchmarks.scripts WHO FOLDER [URL]

``aiohttp``, ``requests`` and ``httpx`` announce, send and follow each file by itself, and poll every 0.1 s; the vendor
is found by the environment as by bulkup. ``wire`` only PUTs the files below URL, over 64 connections.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bulkup.tls import trusting
from bulkup.transport import Limits, Request, body_of
from bulkup.wire import Wire

ACCOUNT = "bench"
_WORKERS = 64
_MOST = 64 * 1024
_POLL = 0.1
_ENDED = frozenset({"complete", "imageVariantsReady"})


def _root() -> str:
    return f"{os.environ['BULKUP_LIGHTREACH_BASE_URL']}/api/v2/accounts/{ACCOUNT}/documents"


def _bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {os.environ['BULKUP_LIGHTREACH_TOKEN']}"}


def _init(path: Path, data: bytes) -> dict[str, object]:
    files = [{"filename": path.name, "size": len(data)}]
    return {"files": files, "type": "utilityBill", "fields": {"externalReference": path.stem}}


async def by_aiohttp(files: list[Path]) -> None:
    """What one would write in an afternoon."""
    import aiohttp
    from yarl import URL

    workers = asyncio.Semaphore(16)
    async with aiohttp.ClientSession() as session:

        async def one(path: Path) -> None:
            async with workers:
                data = path.read_bytes()  # noqa: ASYNC240 - as scripts do
                async with session.post(_root(), json=_init(path, data), headers=_bearer()) as answer:
                    init = await answer.json()
                (file,) = init["files"]
                # as a string the URL would be re-encoded, and its signature broken
                url, kind = URL(file["uploadUrl"], encoded=True), {"Content-Type": file["contentType"]}
                async with session.put(url, data=data, headers=kind) as answer:
                    answer.raise_for_status()
                while True:
                    async with session.get(f"{_root()}/jobs/{init['jobId']}", headers=_bearer()) as answer:
                        event = await answer.json()
                    if event["type"] in _ENDED:
                        return
                    await asyncio.sleep(_POLL)

        await asyncio.gather(*map(one, files))


def by_threads(client: Any, files: list[Path]) -> None:
    """The same with requests, or httpx, and 64 threads."""

    def one(path: Path) -> None:
        data = path.read_bytes()
        init = client.post(_root(), json=_init(path, data), headers=_bearer()).json()
        (file,) = init["files"]
        answer = client.put(file["uploadUrl"], data=data, headers={"Content-Type": file["contentType"]})
        answer.raise_for_status()
        while client.get(f"{_root()}/jobs/{init['jobId']}", headers=_bearer()).json()["type"] not in _ENDED:
            time.sleep(_POLL)

    with ThreadPoolExecutor(_WORKERS) as threads:
        list(threads.map(one, files))


async def by_wire(files: list[Path], url: str, authority: Path | None) -> None:
    """Our client alone."""
    limits, left = Limits(), iter(files)
    async with Wire(trusting(authority)) as wire:

        async def work() -> None:
            for path in left:
                descriptor = os.open(path, os.O_RDONLY)
                data = os.read(descriptor, _MOST)
                os.close(descriptor)
                kind = (("Content-Type", "application/pdf"),)
                answer = await wire.send(Request("PUT", f"{url}/{path.name}", kind, body_of(data)), limits)
                assert answer.status in {200, 201, 204}, answer.status

        await asyncio.gather(*(work() for _ in range(_WORKERS)))


def main() -> None:
    """The command line."""
    who, folder, *more = sys.argv[1:]
    files = sorted(Path(folder).glob("*.pdf"))
    if who == "aiohttp":
        asyncio.run(by_aiohttp(files))
    elif who == "requests":
        import requests
        from requests.adapters import HTTPAdapter

        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(pool_connections=_WORKERS, pool_maxsize=_WORKERS))
            by_threads(session, files)
    elif who == "httpx":
        import httpx

        with httpx.Client(limits=httpx.Limits(max_connections=_WORKERS)) as client:
            by_threads(client, files)
    else:
        import uvloop

        url, *authority = more
        uvloop.run(by_wire(files, url, Path(authority[0]) if authority else None))


if __name__ == "__main__":
    main()
