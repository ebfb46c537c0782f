"""A run that several processes carry out: nothing is lost, and nothing done twice, whoever of them ends or stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bulkup
from bulkup.errors import LeaseLostError
from bulkup.events import DocumentEnded
from bulkup.ledger import Ended, Leases, Ledger, Span
from bulkup.ledgers import open_ledger
from bulkup.model import State
from bulkup.run import Order, admit
from bulkup.sandbox import Faults, Rule, Sandbox
from tests import postgresql
from tests.conftest import Archive, sha256
from tests.process import start
from tests.test_conformance import until
from tests.test_mixed import MIXED, fill
from tests.vendors import HELD

SLOW = Rule(kind="latency", vendor="lightreach", step="init", seconds=0.1)

STARTED = 90
"""Seconds in which processes start, on a machine that does much else."""


def accounts(archive: Archive, rows: int, targets: int = 40) -> Counter[Any]:
    """Rows of LightReach in several accounts; what must be stored."""
    expected: Counter[Any] = Counter()
    for number in range(rows):
        path = archive.add(f"{number}.pdf", account_id=f"A-{number % targets}", external_reference=str(number))
        expected[path.name, sha256(path)] += 1
    return expected


def held(sandbox: Sandbox) -> Counter[Any]:
    """Name and hash of each file that LightReach holds."""
    return Counter(
        (file.name, sandbox.store[file.key].sha256.hex())
        for document in sandbox.lightreach.documents
        for file in document.files
    )


async def upload(archive: Archive, sandbox: Sandbox, **options: Any) -> bulkup.Summary:
    """A run of two processes."""
    return await archive.upload(sandbox, **({"processes": 2} | options))


async def test_all_vendors_by_two_processes(archive: Archive) -> None:
    """Each row is stored once and told of once; the next run skips all of it, and says so of each row."""
    expected = fill(archive, MIXED, 60)
    async with Sandbox() as sandbox:
        summary = await upload(archive, sandbox)
        assert (summary.completed, summary.exit_code) == (300, 0)
        told = [event.row for event in archive.events if isinstance(event, DocumentEnded)]
        assert sorted(told) == list(range(1, 301))
        for provider, documents in expected.items():
            assert HELD[provider](sandbox) == documents, provider
        assert not sandbox.breaches
        assert not sandbox.leaks
        before = dict(sandbox.requests)
        summary = await upload(archive, sandbox)
        assert (summary.skipped, summary.exit_code) == (300, 0)
        assert [event.state for event in archive.ended().values()] == ["skipped"] * 300
        assert dict(sandbox.requests) == before
    assert archive.sql("SELECT count(*) FROM workers") == archive.sql("SELECT count(*) FROM shards") == [(0,)]


def reached(sandbox: Sandbox, requests: int) -> bool:
    """Whether so many requests were sent."""
    return sandbox.requests.total() >= requests


def holds_the_ledger(archive: Archive, worker: int) -> bool:
    """Whether a worker that stands still is in the middle of a transaction that writes."""
    if archive.ledger != archive.file:
        free = f"SELECT 1 FROM workers WHERE strpos(name, ':{worker}:') > 0 FOR UPDATE SKIP LOCKED"  # noqa: S608 - a number
        return not archive.sql(free)
    with closing(sqlite3.connect(archive.file, timeout=0.2, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


@pytest.mark.parametrize("ledger", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["killed", "stopped", "stopped-in-a-transaction"])
async def test_a_worker_is_lost(archive: Archive, how: str, ledger: str) -> None:
    """One of two ends, or stands still past its lease: each row is stored once, and told of once."""
    expected = accounts(archive, 300)
    if ledger == "postgresql":
        archive.ledger = postgresql.ledger()
    async with Sandbox(faults=Faults(rules=(SLOW,))) as sandbox:
        running = asyncio.create_task(upload(archive, sandbox, concurrency=8, lease=3))
        await until(lambda: sandbox.requests["lightreach", "init"] > 40, STARTED)
        victim = archive.workers()[0]
        os.kill(victim, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        while how == "stopped-in-a-transaction" and not holds_the_ledger(archive, victim):
            more = sandbox.requests.total() + 1
            os.kill(victim, signal.SIGCONT)
            await until(partial(reached, sandbox, more), STARTED)
            os.kill(victim, signal.SIGSTOP)
        summary = await running
        assert (summary.completed, summary.exit_code) == (300, 0)
        assert held(sandbox) == expected
        assert not sandbox.breaches
    assert len([event for event in archive.events if isinstance(event, DocumentEnded)]) == 300
    assert any("a worker was lost" in notice for notice in archive.notices())


@pytest.mark.parametrize(
    "stopped", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["workers-go-on", "workers-stand-still"]
)
async def test_the_coordinator_is_lost(archive: Archive, *, stopped: bool) -> None:
    """It is killed: its workers end with it, and the next run waits for those that may not have noticed yet."""
    expected = accounts(archive, 150)
    async with Sandbox(faults=Faults(rules=(SLOW,))) as sandbox:
        options = ["--provider", "lightreach", "--ledger", archive.ledger, "--processes", "2", "--concurrency", "8"]
        environment = {**sandbox.environment(), "BULKUP_LEASE": "3", "BULKUP_SETTLE": "0.3"}
        with start("run", archive.manifest(), *options, environment=environment, cwd=archive.folder) as process:
            await until(lambda: sandbox.requests["lightreach", "init"] > 40, STARTED)
            theirs = archive.workers()
            for worker in theirs if stopped else []:
                os.kill(worker, signal.SIGSTOP)
            process.kill()
            await asyncio.to_thread(process.wait)
            summary = await upload(archive, sandbox)
            for worker in theirs if stopped else []:
                with suppress(ProcessLookupError):  # the kernel hangs up on what stands still without a parent
                    os.kill(worker, signal.SIGCONT)
        await until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in theirs), STARTED)
        assert (summary.completed + summary.skipped, summary.exit_code) == (150, 0)
        assert held(sandbox) == expected
        assert not sandbox.breaches
    assert not stopped or any("workers of an earlier run" in notice for notice in archive.notices())


async def test_interrupted(archive: Archive) -> None:
    """Ctrl-C: what is in flight is finished, the rest stays pending, and the next run sends it."""
    expected = accounts(archive, 150)
    async with Sandbox(faults=Faults(rules=(SLOW,))) as sandbox:
        options = ["--provider", "lightreach", "--ledger", archive.ledger, "--processes", "2", "--concurrency", "8"]
        environment = sandbox.environment()
        with start("run", archive.manifest(), *options, environment=environment, cwd=archive.folder) as process:
            await until(lambda: sandbox.requests["lightreach", "init"] > 40, STARTED)
            process.send_signal(signal.SIGINT)
            out, _ = await asyncio.to_thread(process.communicate)
        assert process.returncode == 130
        assert "150 rows" in out
        assert not archive.workers()
        states = dict(archive.sql("SELECT state, count(*) FROM documents GROUP BY state"))
        assert states.keys() == {"pending", "completed"}
        assert held(sandbox).total() == states["completed"]
        summary = await upload(archive, sandbox)
        assert (summary.completed, summary.skipped) == (states["pending"], states["completed"])
        assert held(sandbox) == expected


async def test_limits_hold_for_all_workers_together(archive: Archive) -> None:
    """The run stops at its limits, whoever reaches them."""
    for number in range(200):
        archive.row(f"missing/{number}.pdf", account_id=f"A-{number}")
    async with Sandbox() as sandbox:
        summary = await upload(archive, sandbox, max_failures="10", concurrency=2)
    assert summary.limited
    assert summary.failed > 10
    assert any("--max-failures 10" in notice for notice in archive.notices())


async def test_what_all_workers_find_out_is_told_once(archive: Archive) -> None:
    """A vendor that refuses the credentials stops each worker; users read it once."""
    accounts(archive, 100)
    refused = Rule(kind="status", vendor="lightreach", step="init", status=401)
    async with Sandbox(faults=Faults(rules=(refused,))) as sandbox:
        summary = await upload(archive, sandbox)
    assert summary.completed == 0
    assert summary.exit_code == 1
    assert len(archive.notices()) == len(set(archive.notices()))


def shared(folder: Path) -> Ledger:
    """A ledger with a run of one row, open as a worker has it."""
    archive = Archive(folder)
    archive.add("a.pdf")
    with open_ledger(archive.file) as ledger:
        environment = {"BULKUP_LIGHTREACH_TOKEN": "t"}
        order = Order(str(archive.manifest()), "lightreach")
        admit(order, ledger, environment=environment, complain=lambda _: None)
    return open_ledger(archive.file, exclusive=False)


def test_who_was_given_up_can_not_write(tmp_path: Path) -> None:
    """A worker that the others gave up is refused by the ledger, whatever it believes."""
    with shared(tmp_path) as ledger, open_ledger(tmp_path / "bulkup.db", exclusive=False) as coordinator:
        leases = Leases(ledger, "run")
        lease = leases.register("a", 60)
        assert lease.held
        Leases(coordinator, "run").expire(["a"])
        mark = Ended(1, "run", "2026-01-01T00:00:00.000Z", State.COMPLETED, "D-1")
        with pytest.raises(LeaseLostError, match="silent for too long"):
            ledger.write([mark])
        with pytest.raises(LeaseLostError):
            leases.renew(lease.worker, 0)
        assert [row["state"] for row in coordinator.rows()] == ["pending"]


def test_a_lease_ends_for_its_worker_before_it_ends_for_others(tmp_path: Path) -> None:
    """Whoever holds one stops to send before anybody else may go on with its rows."""
    with shared(tmp_path) as ledger, open_ledger(tmp_path / "bulkup.db", exclusive=False) as coordinator:
        lease = Leases(ledger, "run").register("a", 1)
        others = Leases(coordinator, "run")
        while lease.held:
            others.expire()
            assert not others.team()[0].ended
        while not others.team()[0].ended:
            others.expire()


@given(
    rows=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["", "g", "h"])), min_size=1, max_size=60),
    size=st.integers(1, 20),
    whole=st.booleans(),
)
def test_shards_are_all_rows_once(rows: list[tuple[str, str]], size: int, *, whole: bool) -> None:
    """Each row is in one shard; a group is in one; and a target, where that is asked for."""
    with open_ledger(None) as ledger:
        connection = ledger._connection
        for number, (account, group) in enumerate(rows, 1):
            connection.exec_driver_sql(
                "INSERT INTO documents (key, row, provider, target, path, filename, cells, share, bundled, manifest,"
                " admitted_by, run_id, state, retriable, alone, attempts)"
                " VALUES (?, ?, 'lightreach', ?, '', '', ?, ?, ?, '', 'r', 'r', 'pending', 1, 0, 0)",
                (
                    str(number),
                    number,
                    account,
                    '{"account_id":"A","type":"utilityBill"}',
                    f'["{account}","{group}"]',
                    bool(group),
                ),
            )
        leases = Leases(ledger, "r")
        leases.cut(size, {"lightreach": whole})
        lease = leases.register("a", 60)
        where: dict[int, Span] = {}
        while (span := leases.claim("lightreach", lease.worker)) is not None:
            for candidate in ledger.candidates("r", "lightreach", None, 1000, span):
                assert candidate.document.number not in where
                where[candidate.document.number] = span
    assert where.keys() == set(range(1, len(rows) + 1))
    together: dict[tuple[str, ...], set[Span]] = {}
    for number, (account, group) in enumerate(rows, 1):
        if group or whole:
            together.setdefault((account, "") if whole and not group else (account, group), set()).add(where[number])
    assert all(len(spans) == 1 for spans in together.values())
