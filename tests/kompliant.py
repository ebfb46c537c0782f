"""Kompliant for the tests: uploads, a plain client of its stand-in, and a relay that sees what goes over the wire."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import yarl

import bulkup
from bulkup.events import DocumentEnded
from bulkup.sandbox import Faults, KompliantOptions, Rule, Sandbox
from tests.conftest import Archive

PDF = "application/pdf"
CONTENT = b"%PDF-1.7 content"
LARGE = bytes(range(256)) * 2000
"""More than is read before the init: it is hashed while it is sent."""
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
ORDER = (
    "Content-Type",
    "key",
    "policy",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "x-amz-meta-document-id",
)
"""The guide's, of a form's fields."""

Fields = Sequence[tuple[str, str]]


def add(archive: Archive, name: str = "a.pdf", content: bytes = CONTENT, **columns: str) -> Path:
    """A file and its row."""
    return archive.add(name, content, provider="kompliant", **{"subject_record_id": "sr_1"} | columns)


async def run(
    archive: Archive, sandbox: Sandbox, settings: Mapping[str, str] | None = None, **options: Any
) -> bulkup.Summary:
    """A run, with more of the environment (``BULKUP_KOMPLIANT_`` is put before the names)."""
    more = {f"BULKUP_KOMPLIANT_{name}": value for name, value in (settings or {}).items()}
    return await archive.upload(sandbox, environment={**sandbox.environment(), **more}, **options)


def ended(archive: Archive) -> DocumentEnded:
    """How the only row of the last run ended."""
    (end,) = archive.ended().values()
    return end


def count(sandbox: Sandbox, step: str) -> int:
    """How often a step was requested."""
    return sandbox.requests["kompliant", step]


def held(sandbox: Sandbox) -> list[str]:
    """The hashes of all bytes that the vendor has."""
    return [each.stored.sha256.hex() for each in sandbox.kompliant.documents if each.stored]


def links(sandbox: Sandbox) -> list[str]:
    """The required documents that are fulfilled."""
    return sorted(each.required for each in sandbox.kompliant.fulfillments)


def failing(*steps: str, **rule: Any) -> Faults:
    """A plan in which these steps go wrong."""
    return Faults(rules=tuple(Rule.model_validate({"step": step, "vendor": "kompliant", **rule}) for step in steps))


def part(name: str, value: str, *headers: str) -> bytes:
    """A field of a form."""
    lines = [f"--{BOUNDARY}", f'Content-Disposition: form-data; name="{name}"', *headers, "", value, ""]
    return "\r\n".join(lines).encode()


def form(fields: Fields, file: bytes | None = CONTENT, after: Fields = (), *, name: str = "file") -> bytes:
    """A form as the guide shows it: the fields, the file (None: there is none), and what should not come after it."""
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="a.pdf"'
    head = "\r\n".join([f"--{BOUNDARY}", disposition, f"Content-Type: {PDF}", "", ""])
    parts = [part(*each) for each in fields]
    parts += [] if file is None else [head.encode() + file + b"\r\n"]
    parts += [part(*each) for each in after]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Made:
    """A ``document.create`` answer."""

    id: str
    url: str
    values: Mapping[str, str]

    def fields(self, changes: Mapping[str, str | None] | None = None) -> Fields:
        """The form's fields in the guide's order, some of them changed (None: left out)."""
        values = {name: self.values[name] for name in ORDER} | dict(changes or {})
        return [(name, value) for name, value in values.items() if value is not None]


class Client:
    """Speaks to a running stand-in as the guide says."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http
        environment = sandbox.environment()
        names = ("BASE_URL", "API_KEY", "SECRET_KEY", "AUTH_TOKEN")
        self.base, key, secret, token = (environment[f"BULKUP_KOMPLIANT_{name}"] for name in names)
        digest = hmac.digest(base64.b64decode(secret), key.encode(), "sha256")
        signature = base64.b64encode(digest).decode()
        self.signed = {
            "Authorization": f"KSig1-HMAC-SHA256 {signature}",
            "X-API-Key": key,
            "X-API-Auth-Token": token,
            "Content-Type": "application/json",
        }

    async def call(
        self, method: str, body: object, headers: Mapping[str, str] | None = None, verb: str = "POST"
    ) -> tuple[int, Any]:
        """One call: status, and JSON, or text where it is none."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = self.signed if headers is None else headers
        skip = ("Content-Type",)
        url = f"{self.base}/{method}"
        async with self.http.request(verb, url, data=data, headers=headers, skip_auto_headers=skip) as answer:
            content = await answer.read()
            return answer.status, orjson.loads(content) if answer.content_type.endswith("json") else content.decode()

    async def ask(self, method: str, body: object) -> Any:
        """The data of a call that succeeds."""
        status, answer = await self.call(method, body)
        assert (status, answer["meta"]["status"]) == (200, "SUCCESS"), answer
        return answer["data"]

    async def create(self, size: int = len(CONTENT), name: str = "a.pdf", subject: str = "sr_1") -> Made:
        """A new record."""
        body = {"subject_record_id": subject, "file_name": name, "file_size_in_bytes": size}
        made = (await self.ask("document.create", body))["document"]
        return Made(made["document_id"], made["upload_url"], made["presign_values"])

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """One form: status and text."""
        skip = ("Content-Type",)
        headers = FORM if headers is None else headers
        target = yarl.URL(url, encoded=True)
        async with self.http.post(target, data=body, headers=headers, skip_auto_headers=skip) as answer:
            return answer.status, await answer.text()

    async def upload(self, content: bytes = CONTENT, name: str = "a.pdf", subject: str = "sr_1") -> str:
        """A document with its bytes; its id."""
        made = await self.create(len(content), name, subject)
        assert (await self.post(made.url, form(made.fields(), content)))[0] == 204
        return made.id

    async def final(self, document_id: str) -> Any:
        """The document, once its hash is known."""
        async with asyncio.timeout(5):
            while True:
                document = (await self.ask("document.get", {"document_id": document_id}))["document"]
                if document["hash"]:
                    return document
                await asyncio.sleep(0.005)


@asynccontextmanager
async def sandboxed(
    *rules: Rule, options: KompliantOptions | None = None, clock: Callable[[], float] = time.time
) -> AsyncIterator[Client]:
    """A running sandbox with these faults and switches, and a client of it."""
    given = options or KompliantOptions(status_delay=0)
    sandbox = Sandbox(options=given, faults=Faults(seed=7, rules=rules), clock=clock)
    async with sandbox, aiohttp.ClientSession() as http:
        yield Client(sandbox, http)


@dataclass(frozen=True)
class Seen:
    """A request as it went over the wire."""

    line: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    @property
    def path(self) -> str:
        """What was asked for."""
        return self.line.split(" ")[1]


class Tap:
    """Stands between a client and a sandbox, and keeps what the client sent."""

    def __init__(self) -> None:
        self._sent: list[bytearray] = []

    @asynccontextmanager
    async def listening(self, sandbox: Sandbox) -> AsyncIterator[Tap]:
        """Have all requests, those to the object store too, go through here."""
        there = urlsplit(sandbox.url)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sent = bytearray()
            self._sent.append(sent)
            back, forth = await asyncio.open_connection(there.hostname, there.port)
            with suppress(ConnectionError):
                await asyncio.gather(_pump(reader, forth, sent), _pump(back, writer, bytearray()))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            sandbox._stage.url = f"http://{host}:{port}"  # where the stand-ins say that they are
            yield self

    def requests(self, path: str) -> list[Seen]:
        """What came for a path, in no order."""
        return [seen for sent in self._sent for seen in _parsed(bytes(sent)) if seen.path == path]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    while data := await reader.read(65_536):
        kept += data
        writer.write(data)
        await writer.drain()
    writer.close()


def _parsed(sent: bytes) -> Iterable[Seen]:
    while sent:
        head, _, sent = sent.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = [(name, value) for name, _, value in (each.partition(": ") for each in lines)]
        length = int(dict(headers).get("Content-Length", 0))
        yield Seen(line, headers, sent[:length])
        sent = sent[length:]
