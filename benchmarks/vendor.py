"""A LightReach stand-in that costs little, so that what is measured is the client.

The sandbox enforces every rule of the guide, and costs more CPU than the client that it serves. This one knows the
three requests of an upload: the init, whose URLs lead to a store of its own or to nginx; the progress as Server-Sent
Events; and as a poll. A job is complete when all its files are in the store with the size that was announced. The MD5
of a file is known beforehand, by its name. What landed is compared with what was sent after each run (`verify`).

    python -m benchmarks.vendor --documents FOLDER --store FOLDER [--objects URL] [--latency SECONDS]
        [--job SECONDS] [--secret KEY]

prints its port. ``GET /state`` answers what it was asked so far, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import secrets
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httptools
import orjson
import uvloop

from bulkup.sandbox.objectstore.signing import Signer

_SIGNATURE = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
_SIGNATURE += "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=content-type%3Bhost&X-Amz-Signature="
_JSON, _EVENTS = b"application/json", b"text/event-stream"


class Vendor:
    """Jobs, and the documents they became.

    Args:
        documents: what will be sent, to know its hashes.
        store: the folder where nginx, or this server, keeps what is PUT.
        objects: the store's URL; empty: this server's own.
        latency: seconds before each answer.
        job: seconds that a job takes, from when it is first asked about.
        secret: of an S3 server that keeps what is PUT: URLs are really signed, and whether bytes landed is not asked.
    """

    def __init__(self, documents: Path, store: Path, objects: str, latency: float, job: float, secret: str) -> None:
        self.store = store
        self.objects = objects
        self.latency = latency
        self.job = job
        self._signer = Signer(secret) if secret else None
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self._hashes = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in documents.glob("*.pdf")}
        self._jobs: dict[str, tuple[str, list[tuple[str, str, int]]]] = {}
        self._asked: dict[str, float] = {}
        self._ids = 0
        self._life = datetime.now(UTC) + timedelta(hours=1)

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes, bytes]:
        """Status, content type and body of one answer."""
        parts = urlsplit(target)
        names = parts.path.split("/")
        if method == "PUT":
            self.requests["put"] += 1
            path = self.store / names[-2] / names[-1]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)
            return 200, _JSON, b""
        if method == "POST":
            self.requests["init"] += 1
            return 202, _JSON, self._init(names[4], orjson.loads(body))
        if parts.path == "/state":
            return 200, _JSON, json.dumps({"requests": self.requests, "connections": self.connections}).encode()
        job = parse_qs(parts.query).get("jobId", [names[-1]])[0]
        asked = self._asked.setdefault(job, time.monotonic())
        streamed = names[-1] == "upload-progress"
        early = self.job and not streamed and time.monotonic() < asked + self.job
        event = orjson.dumps({"type": "processing"} if early else self._event(job))
        if streamed:
            self.requests["stream"] += 1
            return 200, _EVENTS, b"data: " + event + b"\n\n"
        self.requests["poll"] += 1
        return 200, _JSON, event

    def _init(self, account: str, wanted: dict[str, object]) -> bytes:
        job = secrets.token_urlsafe(16)
        files = wanted["files"]
        assert isinstance(files, list)
        named = [(file["filename"], f"{job}/{number}.pdf", file["size"]) for number, file in enumerate(files)]
        self._jobs[job] = (account, named)
        life = self._life.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        slots = [
            {
                "filename": name,
                "stagingPath": f"staging/{key}",
                "uploadUrl": self._signed(key),
                "expiresAt": life,
                "contentType": "application/pdf",
            }
            for name, key, _ in named
        ]
        return orjson.dumps({"jobId": job, "status": "awaitingUpload", "files": slots})

    def _signed(self, key: str) -> str:
        url = f"{self.objects}/{key}"
        if self._signer is None:
            return f"{url}?{_SIGNATURE}{secrets.token_hex(32)}"
        return self._signer.sign("PUT", url, "application/pdf", time.time(), 3600)

    def _event(self, job: str) -> dict[str, object]:
        account, files = self._jobs[job]
        for _, key, size in [] if self._signer else files:
            try:
                landed = (self.store / key).stat().st_size == size
            except FileNotFoundError:
                landed = False
            if not landed:
                return {"type": "awaitingUpload"}
        documents = []
        for name, key, size in files:
            self._ids += 1
            view = {"url": f"{self.objects}/{key}?{_SIGNATURE}{secrets.token_hex(32)}", "type": "original"}
            file = {
                "originalName": name,
                "contentType": "application/pdf",
                "md5Hash": self._hashes[name],
                "sizeKB": size // 1024,
                "viewUrls": [view | {"expiresAt": "2026-01-01T01:00:00.000Z"}],
            }
            meta = {"createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z"}
            documents.append(
                {
                    "id": f"{self._ids:024x}",
                    "accountId": account,
                    "status": "pending",
                    "archived": False,
                    "type": "utilityBill",
                    "files": [file],
                    "meta": meta,
                }
            )
        return {"type": "complete", "documents": documents}


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._body: list[bytes] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._vendor.connections += 1
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._target += url

    def on_body(self, data: bytes) -> None:
        """See httptools."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """See httptools."""
        method, target, body = self._parser.get_method().decode(), self._target.decode(), b"".join(self._body)
        self._target = b""
        self._body.clear()
        status, kind, content = self._vendor.answer(method, target, body)
        head = b"HTTP/1.1 %d OK\r\nDate: %b\r\nContent-Type: %b\r\n" % (status, formatdate(usegmt=True).encode(), kind)
        if kind is _EVENTS:
            framed = b"%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (head, len(content), content)
        else:
            framed = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(content), content)
        wait = self._vendor.latency + (self._vendor.job if kind is _EVENTS else 0)
        if wait:
            asyncio.get_running_loop().call_later(wait, self._transport.write, framed)
        else:
            self._transport.write(framed)


async def serve(vendor: Vendor) -> None:
    """Serve until killed; prints the port."""
    server = await asyncio.get_running_loop().create_server(lambda: Peer(vendor), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    vendor.objects = vendor.objects or f"http://127.0.0.1:{port}/store"
    print(port, flush=True)
    await server.serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--objects", default="")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--job", type=float, default=0.0)
    parser.add_argument("--secret", default="")
    given = parser.parse_args()
    uvloop.run(serve(Vendor(given.documents, given.store, given.objects, given.latency, given.job, given.secret)))


if __name__ == "__main__":
    main()
