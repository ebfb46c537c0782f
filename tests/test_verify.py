"""``--verify``: what the vendor says of the bytes, held against them, also where that costs a question."""

from __future__ import annotations

from typing import Any

import pytest

from bulkup.sandbox import Faults, Rule, Sandbox
from tests.conftest import Archive
from tests.vendors import CASES, HELD, Case

ASKED = {"loanpro": [("get", 1)], "auco": [("get", 1)]}
"""Questions that ``--verify`` costs for a row, by vendor; the others say in the flow itself what they have."""
SILENT = [case for case in CASES if case.id in {"loanpro-updated", "auco-url"}]


def environment(sandbox: Sandbox, case: Case) -> dict[str, str]:
    """What a run of the case needs."""
    return sandbox.environment() | dict(case.settings)


def read_calls(sandbox: Sandbox, case: Case) -> dict[str, int]:
    """How often each step that only reads was asked for."""
    counts = {step: count for (vendor, step), count in sandbox.requests.items() if vendor == case.provider}
    return {step: count for step, count in counts.items() if step in {"get", "list", "job", "stream"}}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_verifying_costs_a_question_only_where_the_flow_has_no_proof(archive: Archive, case: Case) -> None:
    """LoanPro and Auco are asked once more for each row; the others need nothing that they didn't say anyway."""
    counts = []
    for verify in (None, True):
        each = Archive(archive.folder / str(verify))
        each.folder.mkdir()
        for number in range(3):
            each.add(f"{number}.pdf", b"%PDF-1.7 " + str(number).encode(), **case.row(number))
        async with Sandbox(options=case.options or ()) as sandbox:
            summary = await each.upload(sandbox, environment=environment(sandbox, case), verify=verify)
            assert summary.completed == 3
            counts.append(read_calls(sandbox, case))
    plain, verified = counts
    if case.provider in ASKED:
        assert verified == plain | {step: 3 * each + plain.get(step, 0) for step, each in ASKED[case.provider]}
    else:
        assert verified.keys() == plain.keys()


@pytest.mark.parametrize("case", SILENT, ids=lambda case: case.id)
async def test_bytes_that_the_vendor_does_not_show_are_not_called_completed(archive: Archive, case: Case) -> None:
    """The store says 200 and the vendor has nothing: unknown, and not sent again; without --verify nobody notices."""
    archive.add("a.pdf", b"%PDF-1.7 a", **case.row(1))
    archive.add("b.pdf", b"%PDF-1.7 b", **case.row(2))
    forgetful = Faults(rules=(Rule(kind="job_never", vendor=case.provider, times=1),))
    async with Sandbox(options=case.options or (), faults=forgetful) as sandbox:
        settings: dict[str, Any] = {"environment": environment(sandbox, case), "verify": True, "settle": 0.0}
        summary = await archive.upload(sandbox, **settings, concurrency=1)
        assert (summary.completed, summary.unknown, summary.exit_code) == (1, 1, 3)
        (row,) = [row for row in archive.ledger_rows() if row["state"] == "unknown"]
        assert (row["stage"], row["error_code"]) == ("confirm", "not_verified")
        assert row["document_id"]
        again = await archive.upload(sandbox, **settings)
        assert (again.skipped, again.unknown) == (1, 1)
        assert sandbox.requests[case.provider, case.init] == 2
        assert HELD[case.provider](sandbox).total() == 1


async def test_a_slow_vendor_is_given_time_to_show_the_bytes(archive: Archive) -> None:
    """What is not there at the first look is looked for again, until the settle time is over."""
    case = next(case for case in CASES if case.id == "loanpro")
    archive.add("a.pdf", **case.row(1))
    async with Sandbox(options=case.options or ()) as sandbox:
        sandbox.faults = Faults(rules=(Rule(kind="status", vendor="loanpro", step="get", status=404, times=1),))
        summary = await archive.upload(sandbox, verify=True, settle=30.0)
        assert summary.completed == 1
        assert sandbox.requests["loanpro", "get"] == 2


async def test_a_question_that_is_not_answered_is_asked_by_the_next_run(archive: Archive) -> None:
    """The bytes are stored and nobody can be asked: nothing is sent again, and the next run completes the row."""
    case = next(case for case in CASES if case.id == "loanpro")
    archive.add("a.pdf", **case.row(1))
    async with Sandbox(options=case.options or ()) as sandbox:
        sandbox.faults = Faults(rules=(Rule(kind="status", vendor="loanpro", step="get", status=503),))
        summary = await archive.upload(sandbox, verify=True, retry_for=0.5)
        assert (summary.pending, summary.exit_code) == (1, 1)
        assert [row["state"] for row in archive.ledger_rows()] == ["stored"]
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox, verify=True)).completed == 1
        assert sandbox.requests["loanpro", "init"] == sandbox.requests["loanpro", "put"] == 1


@pytest.mark.parametrize("provider", ["lightreach", "kompliant"])
async def test_without_verifying_nothing_is_hashed_or_compared(archive: Archive, provider: str) -> None:
    """A wrong hash fails the row; with --no-verify it does not, and the ledger has no hash."""
    case = next(case for case in CASES if case.provider == provider)
    archive.add("a.pdf", **case.row(1))
    wrong = Faults(rules=(Rule(kind="wrong_hash", vendor=provider),))
    async with Sandbox(options=case.options or (), faults=wrong) as sandbox:
        assert (await archive.upload(sandbox, verify=False)).completed == 1
        (row,) = archive.ledger_rows()
        assert not row["md5"]
        assert not row["sha256"]
    async with Sandbox(options=case.options or (), faults=wrong) as sandbox:
        archive.forget()
        assert (await archive.upload(sandbox)).failed == 1
        assert archive.ledger_rows()[0]["error_code"] == "hash_mismatch"
