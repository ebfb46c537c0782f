"""One manifest for all five vendors."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from bulkup.sandbox import AucoOptions, Faults, KompliantOptions, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.vendors import CASES, HELD, Case, Held

BY_ID = {case.id: case for case in CASES}
MIXED = [BY_ID[name] for name in ("lightreach", "loanpro-updated", "alloy", "kompliant-linked", "auco-url")]


def fill(archive: Archive, cases: list[Case], each: int) -> dict[str, Held]:
    """Rows of several vendors in any order, of any size up to 64 KiB; what each vendor must hold."""
    dice = random.Random(11)
    rows = [(case, number) for case in cases for number in range(each)]
    dice.shuffle(rows)
    expected: dict[str, Held] = {case.provider: Counter() for case in cases}
    for case, number in rows:
        row = case.row(number)
        content = b"%PDF-1.7 " + dice.randbytes(dice.randrange(1, 65_536))
        path = archive.add(f"{case.provider}/{number}.pdf", content, **row)
        expected[case.provider][case.expected(row, path.name, sha256(path))] += 1
    return expected


async def test_five_hundred_rows_of_all_vendors(archive: Archive) -> None:
    """100 rows a vendor, at random, in one run: each store holds each document once, with bytes and metadata."""
    expected = fill(archive, MIXED, 100)
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.exit_code) == (500, 0)
        for provider, documents in expected.items():
            assert HELD[provider](sandbox) == documents, provider
        assert not sandbox.breaches
        assert not sandbox.leaks
        assert (await archive.upload(sandbox)).skipped == 500


async def test_a_vendor_that_is_down_holds_nobody_back(archive: Archive) -> None:
    """The rows of four vendors complete while the fifth refuses its credentials; its rows stay, and complete later."""
    expected = fill(archive, MIXED, 10)
    refused = Rule(kind="status", vendor="alloy", step="init", status=401)
    async with Sandbox(faults=Faults(rules=(refused,))) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed + summary.pending, summary.exit_code) == (40, 10, 1)
        sandbox.faults = Faults()
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.skipped, summary.exit_code) == (10, 40, 0)
        for provider, documents in expected.items():
            assert HELD[provider](sandbox) == documents, provider


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_no_url_is_lost_to_waiting(archive: Archive) -> None:
    """200 ms on each answer, 4 uploads at once, URLs good for 5 s: 200 rows by Auco URL and 200 by Kompliant arrive."""
    expected = fill(archive, [BY_ID["auco-url"], BY_ID["kompliant"]], 200)
    options = AucoOptions(url_life=5), KompliantOptions(url_life=5)
    async with Sandbox(options=options, faults=Faults(rules=(Rule(kind="latency", seconds=0.2),))) as sandbox:
        summary = await archive.upload(sandbox, concurrency=4, job_timeout=60)
        assert (summary.completed, summary.exit_code) == (400, 0)
        for provider, documents in expected.items():
            assert HELD[provider](sandbox) == documents, provider
        counts = {step: count for step, count in sandbox.requests.items() if step[1] in {"init", "put", "form"}}
        assert counts == {
            ("auco", "init"): 200,
            ("auco", "put"): 200,
            ("kompliant", "init"): 200,
            ("kompliant", "form"): 200,
        }
        assert not sandbox.breaches
