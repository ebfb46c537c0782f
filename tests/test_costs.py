"""What a run costs, in counts: requests, connections, tasks, statements. Times are measured by `make bench`."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import bulkup
from bulkup.content import SMALL, Source, _Reader, inspect
from bulkup.ledger import Ledger, Stored
from bulkup.ledger.marks import Answered, Ended, Initiated, Mark
from bulkup.ledgers import open_ledger
from bulkup.model import Content, State
from bulkup.run import Order, admit
from bulkup.sandbox import Sandbox
from bulkup.wire.pool import Pool
from tests.conftest import Archive
from tests.process import clean_environment, serving

ROWS = 1000
PACKAGE = Path(bulkup.__file__).parent
_NOBODY = {"BULKUP_LIGHTREACH_TOKEN": "token", "BULKUP_LIGHTREACH_BASE_URL": "http://127.0.0.1:9"}


@pytest.fixture
def small(archive: Archive) -> Archive:
    """A thousand small documents of one account."""
    for number in range(ROWS):
        archive.add(f"{number}.pdf", b"%%PDF-1.7 %d" % number)
    return archive


async def test_requests_connections_and_tasks(small: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 small files 25 share an init and a stream, all share few connections, and a file needs no task."""
    connections, tasks = Counter[str](), 0
    connect = Pool.connect

    async def counted(pool: Pool, *arguments: Any) -> Any:
        connections["opened"] += 1
        return await connect(pool, *arguments)

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal tasks
        code = Path(work.cr_code.co_filename)  # a coroutine's: no generator is left for the loop to close
        tasks += "anyio" in code.parts or (PACKAGE in code.parents and "sandbox" not in code.parts)
        return asyncio.Task(work, loop=loop, **options)

    monkeypatch.setattr(Pool, "connect", counted)
    async with Sandbox() as sandbox:
        asyncio.get_running_loop().set_task_factory(factory)
        summary = await small.upload(sandbox)
        asyncio.get_running_loop().set_task_factory(None)
        requests = sandbox.requests
        assert (summary.completed, summary.exit_code) == (ROWS, 0)
        assert requests["lightreach", "init"] == ROWS // 25
        assert requests["lightreach", "put"] == ROWS
        assert requests["lightreach", "stream"] <= ROWS // 25 + 5
    # transfers and inits at a time; a stream that is left once its job is done may take its connection along
    assert connections["opened"] <= 64 + 16 + ROWS // 25 + 5
    assert tasks < ROWS // 2


async def test_the_same_again_costs_nothing(small: Archive) -> None:
    """A thousand completed rows: not one request."""
    async with Sandbox() as sandbox:
        await small.upload(sandbox)
        before = sandbox.requests.total()
        assert (await small.upload(sandbox)).skipped == ROWS
        assert sandbox.requests.total() == before


async def test_a_large_file_is_read_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where connections are plain sockets its bytes are not even shown to the event loop, and none is read twice."""
    passed = Counter[str]()
    took, read = _Reader._took, _Reader.read

    def counted(reader: _Reader, data: bytes | memoryview) -> None:
        passed["bytes"] += len(data)
        took(reader, data)

    def chunk(reader: _Reader) -> bytes:
        passed["chunks"] += 1
        return read(reader)

    monkeypatch.setattr(_Reader, "_took", counted)
    monkeypatch.setattr(_Reader, "read", chunk)
    sizes = [SMALL + 1, 1024 * 1024, 6 * 1024 * 1024 + 5]
    for size in sizes:
        archive.add(f"{size}.pdf", b"x" * size)
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox)).completed == len(sizes)
    assert passed == {"bytes": sum(sizes)}


async def test_what_a_large_file_takes_of_threads_and_memory(tmp_path: Path) -> None:
    """While the network takes all, a thread is asked once for 4 MiB, and holds a quarter of one."""
    size = 32 * 1024 * 1024
    with (tmp_path / "file").open("wb") as file:
        file.truncate(size)
    (source,) = inspect([str(tmp_path / "file")], frozenset({"md5"}), allow_empty=False)
    assert isinstance(source, Source)
    rounds, last = 0, None
    with ThreadPoolExecutor(1) as executor:
        part, nowhere = source.poured(executor), os.open("/dev/null", os.O_WRONLY)
        tracemalloc.start()
        while last is None:
            rounds += 1
            last = await part.pour(nowhere)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert rounds <= size // (4 * 1024 * 1024) + 1
    assert peak < 384 * 1024


def _statements(ledger: Ledger, marks: list[Mark]) -> int:
    count = 0

    def told(_: str) -> None:
        nonlocal count
        count += 1

    connection = ledger._connection.connection.dbapi_connection
    assert connection is not None
    connection.set_trace_callback(told)
    ledger.write(marks)
    connection.set_trace_callback(None)
    return count


def test_marks_of_many_rows_are_few_statements(small: Archive) -> None:
    """However many rows a transaction marks, each kind of mark is one statement, or two."""
    order = Order(str(small.manifest()), "lightreach")
    with open_ledger(Path(small.ledger)) as ledger:
        admitted = admit(order, ledger, environment=_NOBODY, complain=print)
        content, at, run = Content(10, 1, "0" * 32), "2026-01-01T00:00:00.000Z", admitted.run_id
        kinds: list[list[Mark]] = [
            [Initiated(id_, run, at, "v2", content) for id_ in range(1, ROWS + 1)],
            [Answered(id_, "job", None) for id_ in range(1, ROWS + 1)],
            [Stored(id_, at, content) for id_ in range(1, ROWS + 1)],
            [Ended(id_, run, at, State.COMPLETED, f"D{id_}") for id_ in range(1, ROWS + 1)],
        ]
        for marks in kinds[:2]:
            assert _statements(ledger, marks) <= 4  # with BEGIN and COMMIT
        # as many uploads end, what happens to one follows what happened to another
        mixed = [mark for pair in zip(*kinds[2:], strict=True) for mark in pair]
        assert _statements(ledger, mixed) <= 4
        assert ledger.totals() == {State.COMPLETED: ROWS}
        assert {row["document_id"] for row in ledger.rows()} == {f"D{id_}" for id_ in range(1, ROWS + 1)}


def _admission(archive: Archive, ledger: Ledger) -> int:
    """Take the manifest in; gives how many statements SQLAlchemy was asked for."""
    count = 0

    def told(*_: object) -> None:
        nonlocal count
        count += 1

    engine = ledger._connection.engine
    event.listen(engine, "before_cursor_execute", told)
    admit(Order(str(archive.manifest()), "lightreach"), ledger, environment=_NOBODY, complain=print)
    event.remove(engine, "before_cursor_execute", told)
    return count


def test_a_manifest_is_taken_in_by_few_statements(small: Archive) -> None:
    """Another thousand rows cost two statements: which keys were there already, and the rows."""
    with open_ledger(None) as ledger:
        few = _admission(small, ledger)
        for number in range(ROWS, 3 * ROWS):
            small.row(f"{number}.pdf")
        assert _admission(small, ledger) - few == 2 * 2
        assert ledger.totals() == {State.PENDING: 3 * ROWS}


def test_a_run_loads_what_it_needs(archive: Archive) -> None:
    """No other command, no library of other commands, and no progress bar where nobody watches."""
    archive.add("1.pdf")
    with serving() as server:
        command = [sys.executable, "-X", "importtime", "-m", "bulkup", "run", str(archive.manifest())]
        done = subprocess.run(
            [*command, "--provider", "lightreach"],
            cwd=archive.folder,
            env=clean_environment(server.environment),
            check=True,
            capture_output=True,
            text=True,
        )
    loaded = set(re.findall(r"^import time: +\d+ \| +\d+ \| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert {"bulkup.engine", "bulkup.ledger.store", "sqlalchemy"} <= loaded
    commands = {f"bulkup.cli.{name}" for name in ("demo", "documents", "ledger", "orphans", "sandbox", "schema")}
    libraries = {"aiohttp", "yarl", "rich", "pyarrow", "psycopg", "sqlalchemy.dialects.postgresql"}
    assert not loaded & (commands | libraries | {"bulkup.bar", "bulkup.client", "bulkup.http", "bulkup.sandbox"})


def test_the_words_of_the_library_load_without_what_sends() -> None:
    """``import bulkup`` is light: SQLAlchemy and the vendors come with the first use of what needs them."""
    script = "import sys, bulkup; bulkup.Summary; print(*sys.modules); bulkup.upload; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    before, after = (set(line.split()) for line in said.splitlines())
    heavy = {"sqlalchemy", "asyncio", "bulkup.providers", "bulkup.engine"}
    assert not before & heavy
    assert heavy <= after
