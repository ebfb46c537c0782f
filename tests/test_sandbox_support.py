"""A plain client of the sandbox, for its own tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yarl

from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox

PDF = "application/pdf"


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Client:
    """Speaks to a running sandbox with the fixed token, as the guide says."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http
        self.bearer = {"Authorization": f"Bearer {sandbox.lightreach.token}"}

    def documents(self, rest: str = "", account: str = "A-1") -> str:
        """The URL of an account's documents."""
        return f"{self.sandbox.url}/lightreach/api/v2/accounts/{account}/documents{rest}"

    async def api(self, method: str, url: str, **more: Any) -> tuple[int, Any]:
        """One API call: status and JSON."""
        async with self.http.request(method, url, **{"headers": self.bearer, **more}) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None

    async def try_init(self, body: object, account: str = "A-1") -> tuple[int, Any]:
        """An init with any body."""
        return await self.api("POST", self.documents(account=account), json=body)

    async def init(self, sizes: Mapping[str, int], account: str = "A-1", **fields: object) -> Any:
        """A good init of these file names and sizes."""
        files = [{"filename": name, "size": size} for name, size in sizes.items()]
        status, answer = await self.try_init({"files": files, "type": "utilityBill", "fields": fields}, account)
        assert status == 202, answer
        return answer

    async def put(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """One PUT of bytes: status and text."""
        skip = ("Content-Type",)
        target = yarl.URL(url, encoded=True)
        async with self.http.put(target, data=body, headers=headers, skip_auto_headers=skip) as answer:
            return answer.status, await answer.text()

    async def upload(self, contents: Mapping[str, bytes], account: str = "A-1", **fields: object) -> str:
        """Init and PUT everything; returns the job id."""
        job = await self.init({name: len(body) for name, body in contents.items()}, account, **fields)
        for file in job["files"]:
            status, text = await self.put(
                file["uploadUrl"], contents[file["filename"]], {"Content-Type": file["contentType"]}
            )
            assert status == 200, text
        return str(job["jobId"])

    async def poll(self, job: str, account: str = "A-1") -> tuple[int, Any]:
        """The job's latest event."""
        return await self.api("GET", self.documents(f"/jobs/{job}", account))

    async def wait_for(self, job: str, *events: str, account: str = "A-1") -> Any:
        """Poll until the latest event is one of these."""
        async with asyncio.timeout(5):
            while True:
                _, event = await self.poll(job, account)
                if event["type"] in events:
                    return event
                await asyncio.sleep(0.005)

    async def finished(self, contents: Mapping[str, bytes], account: str = "A-1", **fields: object) -> Any:
        """Upload and wait for the documents."""
        job = await self.upload(contents, account, **fields)
        return (await self.wait_for(job, "imageVariantsReady", account=account))["documents"]

    @asynccontextmanager
    async def stream(self, job: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The job's event stream."""
        url = self.documents("/upload-progress")
        async with self.http.get(url, params={"jobId": job}, headers=self.bearer) as answer:
            assert answer.status == 200
            yield answer


@asynccontextmanager
async def sandboxed(
    *rules: Rule, options: LightReachOptions | None = None, clock: Clock | None = None
) -> AsyncIterator[Client]:
    """A running sandbox with these faults and switches, and a client of it."""
    made = Sandbox(
        faults=Faults(seed=7, rules=rules),
        options=options or LightReachOptions(job_delay=0, variants_delay=0),
        clock=clock or time.time,
    )
    async with made as sandbox, aiohttp.ClientSession() as http:
        yield Client(sandbox, http)


async def raw(url: str, request: bytes, *, shut: bool = False) -> bytes:
    """Send bytes as they are, shut down the sending side if told so, and read all that comes."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    if shut:
        writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def put_head(url: str, content_type: str, *more: str) -> bytes:
    """The head of a PUT, with these header lines besides."""
    host, _, target = url.partition("//")[2].partition("/")
    lines = [f"PUT /{target} HTTP/1.1", f"Host: {host}", f"Content-Type: {content_type}", *more, "", ""]
    return "\r\n".join(lines).encode()
