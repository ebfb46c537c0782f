"""All five adapters on the unchanged pipeline: each step well, slow, lost, refused, or the last before a kill."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest

import bulkup
from bulkup.sandbox import Faults, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.vendors import CASES, Case, Held

ROWS = 3
CELLS = [pytest.param(case, step, id=f"{case.id}-{step}") for case in CASES for step in case.steps]
REPEATABLE = [cell for cell in CELLS if cell.values[0].repeatable]  # type: ignore[union-attr]


def fill(archive: Archive, case: Case, rows: int = ROWS) -> Held:
    """Some rows of a case, and what the vendor must hold of them."""
    expected: Held = Counter()
    for number in range(rows):
        row = case.row(number)
        path = archive.add(f"{case.id}/{number}.pdf", f"%PDF-1.7 {case.id} {number}".encode(), **row)
        expected[case.expected(row, path.name, sha256(path))] += 1
    return expected


async def send(archive: Archive, sandbox: Sandbox, case: Case, **options: Any) -> bulkup.Summary:
    """A run of the archive."""
    return await archive.upload(sandbox, environment={**sandbox.environment(), **case.settings}, **options)


def started(case: Case, *rules: Rule) -> Sandbox:
    """The sandbox of a case."""
    return Sandbox(options=case.options or (), faults=Faults(seed=3, rules=rules))


def check(sandbox: Sandbox, case: Case, expected: Held) -> None:
    """Each document is there once, with its bytes and its metadata, and no rule of a guide was broken."""
    assert case.held(sandbox) == expected
    assert case.provider == "kompliant" or case.empty(sandbox) == 0  # used, or put away; Kompliant has no way to
    assert not sandbox.leaks
    assert not sandbox.breaches


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_each_document_arrives_once(archive: Archive, case: Case) -> None:
    """Bytes and metadata are right, the ledger has the ids, and a second run sends nothing."""
    expected = fill(archive, case, 8)
    async with started(case) as sandbox:
        summary = await send(archive, sandbox, case)
        assert (summary.completed, summary.exit_code) == (8, 0), archive.ended()
        check(sandbox, case, expected)
        assert case.empty(sandbox) == 0  # nor Kompliant's, if nothing goes wrong
        assert len({row["document_id"] for row in archive.ledger_rows()}) == 8
        before = Counter(sandbox.requests)
        assert {vendor for vendor, _ in before} == {case.provider}
        assert set(case.steps) <= {step for _, step in before}
        assert (await send(archive, sandbox, case)).skipped == 8
        assert Counter(sandbox.requests) == before


FAULTS = {
    "reset_before": Rule(kind="reset_before", times=2),
    "reset_mid": Rule(kind="reset_mid", times=2),
    "reset_after": Rule(kind="reset_after", times=2),
    "truncated": Rule(kind="truncate", times=2),
    "malformed": Rule(kind="malformed", times=2),
    "close_idle": Rule(kind="close_idle"),
    "slow": Rule(kind="latency", seconds=0.05),
    "408": Rule(kind="status", status=408, times=2),
    "429": Rule(kind="status", status=429, retry_after=0, times=2),
    "500": Rule(kind="status", status=500, times=2),
    "502": Rule(kind="early", status=502, times=2, seconds=0.05),
    "503": Rule(kind="status", status=503, retry_after=0, times=2),
}
STREAMED = {"reset_before", "slow", "429", "500", "503"}
"""What can happen to a stream as to any request."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("case", "step"), REPEATABLE)
async def test_what_may_be_repeated_survives(archive: Archive, case: Case, step: str, fault: str) -> None:
    """A step that fails in passing costs nothing: all rows complete, once, in the same run."""
    if step == "stream" and fault not in STREAMED:
        pytest.skip("a stream has faults of its own: test_track")
    expected = fill(archive, case)
    async with started(case, FAULTS[fault].model_copy(update={"step": step, "vendor": case.provider})) as sandbox:
        summary = await send(archive, sandbox, case, retry_for=10)
        assert (summary.completed, summary.exit_code) == (ROWS, 0), archive.ended()
        check(sandbox, case, expected)


ONCE = [cell for cell in CELLS if not cell.values[0].repeatable]  # type: ignore[union-attr]
MAY_HAVE_WORKED = {"reset_before", "reset_mid", "reset_after", "truncated", "malformed", "500", "502", "503"}
"""What leaves a client in doubt; 408 and 429 say that nothing was done."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("case", "step"), ONCE)
async def test_what_people_would_notice_is_never_repeated(archive: Archive, case: Case, step: str, fault: str) -> None:
    """In doubt a row is unknown, or what a look-up says; no second process, no second PUT, in this run or the next."""
    expected = fill(archive, case)
    rule = FAULTS[fault].model_copy(update={"step": step, "vendor": case.provider, "times": 2})
    if fault in {"close_idle", "slow"}:
        rule = rule.model_copy(update={"times": None})
    async with started(case, rule) as sandbox:
        summary = await send(archive, sandbox, case, retry_for=10)
        counts = Counter(sandbox.requests)
        refused = 2 if fault == "429" and step == case.init else 0
        assert counts[case.provider, case.init] <= ROWS + refused
        assert counts[case.provider, "put"] <= ROWS
        if fault in {"429", "close_idle", "slow"} and step == case.init:
            assert summary.completed == ROWS
        assert summary.pending == 0
        assert not case.held(sandbox) - expected
        sandbox.faults = Faults()
        again = await send(archive, sandbox, case)
        assert again.completed + again.skipped + again.unknown + again.failed == ROWS
        if step == case.init and fault in MAY_HAVE_WORKED and case.provider == "auco":
            assert (summary.unknown, again.unknown) == (2, 2)
            assert sandbox.requests[case.provider, case.init] == ROWS
        assert not case.held(sandbox) - expected
        assert not sandbox.breaches
        assert not sandbox.leaks


@pytest.mark.parametrize("fault", ["reset_after", "malformed", "503"])
@pytest.mark.parametrize(("case", "step"), REPEATABLE)
async def test_a_step_that_never_works_is_resumed(archive: Archive, case: Case, step: str, fault: str) -> None:
    """A vendor that is down for a whole run loses nothing: the next run completes every row, each document once."""
    if step == "stream" and fault not in STREAMED:
        pytest.skip("a stream has faults of its own: test_track")
    expected = fill(archive, case)
    rule = FAULTS[fault].model_copy(update={"step": step, "vendor": case.provider, "times": None})
    async with started(case, rule) as sandbox:
        summary = await send(archive, sandbox, case, retry_for=0.2, settle=0, job_timeout=0.3)
        total = summary.completed + summary.failed + summary.unknown + summary.pending
        assert total == ROWS
        sandbox.faults = Faults()
        again = await send(archive, sandbox, case, retry_unknown=True)
        assert (again.completed + again.skipped, again.exit_code) == (ROWS, 0), archive.ended()
        check(sandbox, case, expected)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("case", "step"), CELLS)
async def test_resume_after_a_kill_at_each_step(archive: Archive, case: Case, step: str, moment: str) -> None:
    """The ledger as a kill leaves it while a request is on its way, that never took effect or had just done so."""
    expected = fill(archive, case)
    before, after = Rule(kind="stall", step=step), Rule(kind="latency", step=step, seconds=30)
    async with started(case, before if moment == "before" else after) as sandbox:
        run = asyncio.create_task(send(archive, sandbox, case, job_timeout=30))
        await until(lambda: sandbox.requests[case.provider, step] > 0)
        if moment == "after":
            await until(lambda: took_effect(sandbox, case, step))
        killed = archive.folder / "killed.db"
        with closing(sqlite3.connect(archive.ledger)) as ledger, closing(sqlite3.connect(killed)) as copy:
            ledger.backup(copy)
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        for name in archive.folder.glob("bulkup.db*"):
            name.unlink()
        killed.rename(archive.ledger)
        sandbox.faults = Faults()
        again = await send(archive, sandbox, case)
        assert again.pending == 0
        assert not case.held(sandbox) - expected
        if case.provider != "auco":
            assert (again.completed, again.exit_code) == (ROWS, 0), archive.ended()
            check(sandbox, case, expected)
        else:
            assert again.unknown + again.failed + again.completed == ROWS
            assert sandbox.requests[case.provider, case.init] <= ROWS
        assert not sandbox.breaches


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is to happen within a few seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what the sandbox saw has no event
            await asyncio.sleep(0.005)


def took_effect(sandbox: Sandbox, case: Case, step: str) -> bool:
    """Whether the vendor has done what a step asks for, as far as that can be seen."""
    if step in {"put", "form", "v1"} or case.id == "auco":
        return bool(case.held(sandbox))
    if step == "link":
        return bool(sandbox.kompliant.fulfillments)
    if step == "update":
        return any(record.description for record in sandbox.loanpro.documents)
    if step in {"init", "package"} and case.provider != "lightreach":
        return case.empty(sandbox) > 0
    return True
