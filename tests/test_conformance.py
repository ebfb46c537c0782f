"""All five adapters on the unchanged pipeline: each step well, or the last before a kill; faults: test_faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import bulkup
from bulkup.sandbox import Faults, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.vendors import CASES, Case, Held

ROWS = 3
CELLS = [pytest.param(case, step, id=f"{case.id}-{step}") for case in CASES for step in case.steps]


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
        killed = archive.tables()
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        archive.restore(killed)
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


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that is to happen within a few seconds."""
    async with asyncio.timeout(seconds):
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
