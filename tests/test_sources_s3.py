"""Documents in a real object store, SeaweedFS, which checks signatures and permissions itself."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from obstore.store import S3Store

from bulkup.content import SMALL
from bulkup.sandbox import LoanProOptions, Sandbox
from bulkup.sandbox.objectstore.objects import ObjectStore
from bulkup.sandbox.objectstore.seaweed import SeaweedFS
from bulkup.sandbox.objectstore.signing import ACCESS_KEY, Signer
from bulkup.tasks import gather_some
from tests.conftest import Archive, stored
from tests.process import BULKUP, clean_environment
from tests.test_sources import hashes, held
from tests.vendors import CASES, Held

pytestmark = [pytest.mark.s3, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
SECRET = "hush-hush-secret"  # noqa: S105 - of a stand-in
VENDORS = [case for case in CASES if case.id in {"lightreach", "loanpro", "alloy", "kompliant", "auco"}]


@dataclass
class Bucket:
    """A bucket of the server, which the environment points to."""

    endpoint: str
    store: S3Store

    async def put(self, **objects: bytes) -> None:
        """Put objects there, their names with ``_`` for a dot."""
        for name, data in objects.items():
            await self.store.put_async(name.replace("_", "."), data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint() -> AsyncIterator[str]:
    """The server's URL. What lands there is nobody's business."""
    async with SeaweedFS(Signer(SECRET), time.time, ObjectStore(), lambda _key: None) as server:
        yield server.url.rpartition("/")[0]


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Its bucket ``sandbox``."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return Bucket(endpoint, S3Store("sandbox", client_options={"allow_http": True}))


class Line:
    """A line to the server on which something happens in the middle of large answers; a real one, of sockets.

    Args:
        after: how many bytes of an answer come before that.
        happens: what; each of them once, and each in an answer of its own.
        breaks: the line breaks then.
    """

    def __init__(self, after: int, *happens: Callable[[], Awaitable[object]], breaks: bool) -> None:
        self.asked = bytearray()
        self.left = list(happens)
        self._after = after
        self._breaks = breaks

    @asynccontextmanager
    async def to(self, endpoint: str) -> AsyncIterator[str]:
        """Gives the URL of its near end."""
        port = int(endpoint.rpartition(":")[2])
        tasks: set[asyncio.Task[None] | None] = set()
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writers.extend((writer, back))
            with suppress(OSError):
                await asyncio.gather(self._out(reader, back), self._back(there, writer, back))
            for each in (writer, back):
                each.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()
            await asyncio.gather(*(task for task in tasks if task is not None))

    async def _out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.asked += data
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: asyncio.StreamWriter
    ) -> None:
        passed, then = 0, self._after
        while data := await reader.read(65_536):
            passed += len(data)
            if passed > then and self.left:
                then += 20_000_000  # in another answer
                await self.left.pop(0)()
                if self._breaks:
                    writer.transport.abort()
                    out.close()
                    return
            writer.write(data)
            await writer.drain()
        writer.close()


async def test_a_run_and_another(archive: Archive, bucket: Bucket) -> None:
    """Small and large objects arrive byte for byte under their names; the second run sends nothing."""
    data = {f"in/{n} ä+~%20 #{n}?.pdf": os.urandom(size) for n, size in enumerate((1, SMALL, SMALL + 1, 9_000_000))}
    for name, content in data.items():
        await bucket.store.put_async(name, content)
        archive.row(f"s3://sandbox/{name}")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.exit_code) == (4, 0), archive.ended()
        assert list(held(sandbox).values()) == [hashes(content)[1] for content in data.values()]
        requests = Counter(sandbox.requests)
        summary = await archive.upload(sandbox)
        assert (summary.skipped, summary.exit_code) == (4, 0)
        assert sandbox.requests == requests


async def test_a_line_that_breaks(archive: Archive, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read goes on by range over a new connection, and what arrives is whole."""
    data = os.urandom(20_000_000)
    await bucket.put(broken_pdf=data)
    archive.row("s3://sandbox/broken.pdf")
    line = Line(7_000_000, partial(asyncio.sleep, 0), breaks=True)
    async with line.to(bucket.endpoint) as url, Sandbox() as sandbox:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        summary = await archive.upload(sandbox)
        assert (summary.completed, line.left) == (1, []), archive.ended()
        assert held(sandbox) == {"broken.pdf": hashes(data)[1]}
        assert sandbox.requests["lightreach", "init"] == 1
    ranges = [part.partition("\r\n")[0] for part in line.asked.decode("latin-1").lower().split("\r\nrange: bytes=")[1:]]
    assert max(int(each.partition("-")[0]) for each in ranges) > 5_000_000, ranges


@pytest.mark.parametrize("breaks", [True, False], ids=["breaking", "to-the-end"])
@pytest.mark.parametrize("count", [1, 2])
async def test_an_object_that_is_replaced_while_it_is_sent(
    archive: Archive, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, count: int, *, breaks: bool
) -> None:
    """It is sent anew as it is now; replaced once more, its row fails. Nothing that arrives is a mixture."""
    first, *later = [os.urandom(20_000_000) for _ in range(1 + count)]
    await bucket.put(replaced_pdf=first)
    archive.row("s3://sandbox/replaced.pdf")
    line = Line(7_000_000, *(partial(bucket.put, replaced_pdf=each) for each in later), breaks=breaks)
    async with line.to(bucket.endpoint) as url, Sandbox() as sandbox:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        summary = await archive.upload(sandbox)
        (end,) = archive.ended().values()
        assert not line.left
        if count == 1:
            assert (summary.completed, held(sandbox)) == (1, {"replaced.pdf": hashes(later[0])[1]}), end
        else:
            assert (summary.failed, end.stage, end.error_code) == (1, "transfer", "file_changed")
            assert not stored(sandbox)


async def test_what_fails(archive: Archive, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing object or bucket, an empty object, no credentials and wrong ones: each row says why, without them."""
    await bucket.put(good_pdf=b"x", empty_pdf=b"")
    for path in ("sandbox/good.pdf", "sandbox/missing.pdf", "nobucket/x.pdf", "sandbox/empty.pdf"):
        archive.row(f"s3://{path}")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed, summary.exit_code) == (1, 3, 1)
        assert [(end.error_code, end.error) for _, end in sorted(archive.ended().items())][1:] == [
            ("file_missing", "'s3://sandbox/missing.pdf' does not exist"),
            ("file_missing", "'s3://nobucket/x.pdf' does not exist: there is no such bucket"),
            ("file_empty", "'s3://sandbox/empty.pdf' is empty (--allow-empty sends it)"),
        ]
        archive.rows.clear()
        archive.row("s3://sandbox/good.pdf", type="other")
        for name, secret, reason in (
            (ACCESS_KEY, "wrong-hush", "the store answers 403 Forbidden, SignatureDoesNotMatch"),
            ("WRONGKEY", SECRET, "the store answers 403 Forbidden, InvalidAccessKeyId"),
        ):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
            summary = await archive.upload(sandbox)
            (end,) = archive.ended().values()
            assert (end.stage, end.error_code) == ("preflight", "file_unreadable")
            assert end.error == f"'s3://sandbox/good.pdf' can't be read: {reason}"
    said = repr(archive.events) + repr(archive.ledger_rows())
    assert "hush" not in said
    assert "WRONGKEY" not in said


async def test_credentials_that_are_refused_later(
    archive: Archive, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was completed stays so, and a warning says that nobody could look."""
    await bucket.put(later_pdf=b"x")
    archive.row("s3://sandbox/later.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-hush")
        summary = await archive.upload(sandbox)
    assert (summary.skipped, summary.exit_code) == (1, 0)
    assert "1 objects can't be looked at (file_unreadable)" in caplog.text
    assert "hush" not in caplog.text


@dataclass(frozen=True)
class Cost:
    """What a run of the command took: the most memory, and what it had written to disks, in bytes."""

    memory: int
    written: int


_MEASURE = """
import json, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (12_000_000, 12_000_000))
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([json.loads(done.stdout.splitlines()[-1]), usage.ru_maxrss * 1024, usage.ru_oublock * 512]))
"""
"""Runs a command from a small process, whose own memory would count otherwise; it may write no file above 12 MB."""


def measured(*arguments: str, environment: Mapping[str, str], cwd: Path) -> tuple[dict[str, Any], Cost]:
    """Run the command to its end; gives its summary, and what it took."""
    command = [sys.executable, "-c", _MEASURE, *BULKUP, *arguments, "--json"]
    done = subprocess.run(command, env=clean_environment(environment), cwd=cwd, stdout=subprocess.PIPE, check=True)
    summary, memory, written = json.loads(done.stdout)
    return summary, Cost(memory, written)


async def test_a_thousand_objects_go_to_all_five_vendors(bucket: Bucket, tmp_path: Path) -> None:
    """With flat memory, and without touching the disk but for the ledger; the second run sends nothing."""
    few = await sent_to_all(bucket, tmp_path, rows=200, large=10)
    many = await sent_to_all(bucket, tmp_path, rows=1000, large=10)
    assert many.memory < few.memory + 30_000_000, (few, many)
    assert many.written < 60_000_000, (few, many)


async def sent_to_all(bucket: Bucket, folder: Path, *, rows: int, large: int) -> Cost:
    """Send objects to all vendors, so many of them 16 MB, and look at what they hold."""
    small, big = b"%PDF-1.7 " + os.urandom(16_000), b"%PDF-1.7 " + os.urandom(16_000_000)
    digests = {True: hashes(big)[1], False: hashes(small)[1]}
    table: list[dict[str, str]] = []
    expected: dict[str, Held] = {case.id: Counter() for case in VENDORS}
    for number in range(rows):
        case = VENDORS[number % len(VENDORS)]
        row = case.row(number)
        table.append({"path": f"{number}.pdf"} | row)
        expected[case.id][case.expected(row, f"{number}.pdf", digests[number < large])] += 1
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(column for row in table for column in row)), restval="")
    writer.writeheader()
    writer.writerows(table)
    await bucket.store.put_async(f"{rows}/manifest.csv", text.getvalue().encode())
    objects = [(f"{rows}/{number}.pdf", big if number < large else small) for number in range(rows)]
    await gather_some([partial(bucket.store.put_async, *each) for each in objects], 32)

    here, data = folder / f"run-{rows}", folder / f"vendors-{rows}"
    here.mkdir()
    async with Sandbox(data=data, options=LoanProOptions(attachment_before="empty")) as sandbox:
        run = ("run", f"s3://sandbox/{rows}/manifest.csv")
        environment = {**sandbox.environment(), "TMPDIR": str(here)}
        summary, cost = await asyncio.to_thread(measured, *run, environment=environment, cwd=here)
        assert (summary["completed"], summary["bytes"]) == (rows, sum(len(each) for _, each in objects)), summary
        for case in VENDORS:
            assert case.held(sandbox) == expected[case.id], case.id
        assert not sandbox.breaches
        requests = Counter(sandbox.requests)
        summary, _ = await asyncio.to_thread(measured, *run, environment=environment, cwd=here)
        assert summary["skipped"] == rows
        assert sandbox.requests == requests
    assert {path.name.partition("-")[0] for path in here.iterdir()} <= {"bulkup.db", "bulkup.db.lock"}
    return cost
