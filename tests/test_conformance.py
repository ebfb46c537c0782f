"""All five adapters on the unchanged pipeline: each step well, slow, lost, refused, or the last before a kill."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from typing import Any
from pathlib import Path

import pytest

import bulkup
from bulkup.model import State
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
        assert case.empty(sandbox) == 0
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
