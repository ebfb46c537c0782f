"""A run always ends: at the user's limits, at a container that refuses, and when nothing moves any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import pytest

import bulkup.run
from bulkup.ledgers import open_ledger
from bulkup.sandbox import Faults, Rule, Sandbox
from bulkup.transport import Limits, Request, Response, Stream
from tests.conftest import Archive
from tests.test_ends import fault


async def test_too_many_failures_stop_the_run(archive: Archive) -> None:
    """With more failed rows than allowed no more are taken: exit code 4, the rest pending; the next run goes on."""
    for number in range(5):
        archive.row(f"missing {number}.pdf", external_reference=str(number))
    for number in range(300):
        archive.add(f"{number}.pdf", b"x", external_reference=f"there {number}")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox, max_failures="2", concurrency=1)
        assert (summary.exit_code, summary.limited) == (4, True)
        assert summary.failed >= 3
        assert summary.pending > 0
        assert sum("--max-failures 2" in notice for notice in archive.notices()) == 1
        summary = await archive.upload(sandbox)
        assert (summary.completed + summary.skipped, summary.failed, summary.exit_code) == (300, 5, 1)


async def test_a_share_of_failures_is_that_of_the_manifest(archive: Archive) -> None:
    """3 of 60 rows are 5 %: allowed; the run ends as usual."""
    for number in range(57):
        archive.add(f"{number}.pdf", b"x")
    for number in range(3):
        archive.row(f"missing {number}.pdf")
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox, max_failures="5%")).exit_code == 1


async def test_requests_are_limited(archive: Archive) -> None:
    """Once so many were sent, only what is in flight is finished; run after run the archive completes."""
    for number in range(60):
        archive.add(f"{number}.pdf", b"x", external_reference=str(number))
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox, max_requests=30, concurrency=2)
        assert summary.exit_code == 4
        assert sum(sandbox.requests.values()) < 30 + 2 * 4
        runs = 1
        while (summary := await archive.upload(sandbox, max_requests=30, concurrency=2)).exit_code == 4:
            runs += 1
        assert (summary.exit_code, summary.completed + summary.skipped) == (0, 60)
        assert runs > 2
        assert len(sandbox.lightreach.documents) == 60


async def test_time_is_limited(archive: Archive) -> None:
    """When the time is over no more rows are taken; what is in flight is finished."""
    for number in range(200):
        archive.add(f"{number}.pdf", b"x", external_reference=str(number))
    async with Sandbox(faults=fault(kind="latency", step="init", seconds=0.05)) as sandbox:
        summary = await archive.upload(sandbox, max_duration="0.3s", concurrency=1)
        assert (summary.exit_code, summary.completed + summary.pending) == (4, 200)
        assert summary.completed == len(sandbox.lightreach.documents)


async def test_the_last_row_ends_a_run_as_usual(archive: Archive) -> None:
    """A limit that is reached when nothing is left to do changes nothing."""
    archive.row("missing.pdf")
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox, max_failures="0")).exit_code == 1


async def test_a_container_that_refuses_is_left_alone(archive: Archive) -> None:
    """One refused init is enough to know: the rest of that account stays pending, the other account completes."""
    for number in range(200):
        archive.add(f"{number}.pdf", b"x", account_id="A-closed")
    for number in range(30):
        archive.add(f"open {number}.pdf", b"x", account_id="A-open")
    refused = Rule(kind="status", step="init", status=403, match="A-closed")
    async with Sandbox(faults=Faults(rules=(refused,))) as sandbox:
        summary = await archive.upload(sandbox, concurrency=1)
        assert (summary.completed, summary.exit_code) == (30, 1)
        assert summary.pending >= 100
        assert sandbox.requests["lightreach", "init"] <= 6
        (notice,) = [text for text in archive.notices() if "A-closed" in text]
        assert "no more of its rows are taken: HTTP 403" in notice
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).exit_code == 0


class _Hung:
    """A transport that keeps no deadline: as no real one does, unless it is broken."""

    def __init__(self, _tls: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, _request: Request, _limits: Limits) -> Response:
        """Never comes back."""
        await anyio.sleep_forever()
        raise AssertionError

    @asynccontextmanager
    async def stream(self, _request: Request, _limits: Limits) -> AsyncIterator[Stream]:
        """Never comes back."""
        await anyio.sleep_forever()
        yield Stream(Response(200, {}, b""), _nothing())


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def test_a_run_in_which_nothing_moves_says_so_and_ends(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits for ever: the watchdog says what each worker is at, and ends the run with a true ledger."""
    archive.add("a.pdf")
    deadlines: dict[str, Any] = {"timeout": 0.05, "connect_timeout": 0.05, "stall_timeout": 0.05, "retry_for": 0.1}
    async with Sandbox() as sandbox:
        with monkeypatch.context() as patched:
            patched.setattr(bulkup.run, "carrier", _Hung)
            summary = await archive.upload(sandbox, **deadlines)
        assert (summary.pending, summary.exit_code) == (1, 1)
        (notice,) = [text for text in archive.notices() if "nothing has moved" in text]
        assert notice.endswith("lightreach: init (1)")
        assert (await archive.upload(sandbox)).exit_code == 0


async def test_what_waits_for_its_turn_was_not_sent(archive: Archive) -> None:
    """Cancelled before a request left, a row is pending: not even Auco's are in doubt."""
    people = '[{"name": "A", "email": "a@example.com", "phone": "+1"}]'
    words = {"email": "me@example.com", "name": "n", "subject": "s", "message": "m", "sign_profile": people}
    for number in range(12):
        archive.add(f"{number}.pdf", b"%PDF-1.7", provider="auco", key=str(number), **words)
    async with Sandbox() as sandbox:
        # it ends between the first request and the second one's turn, far from both
        summary = await archive.upload(sandbox, rate=1, max_duration="0.3s", drain=0.2)
        assert (summary.unknown, summary.exit_code) == (0, 4)
        assert summary.completed + summary.pending == 12
        assert (await archive.upload(sandbox)).exit_code == 0
        assert len(sandbox.auco.processes) == 12


async def test_a_single_use_url_that_a_run_s_end_overtakes(archive: Archive) -> None:
    """Auco's process is there and its PUT waits for a turn when the run ends: failed, not unknown, until `retry`."""
    people = '[{"name": "A", "email": "a@example.com", "phone": "+1"}]'
    words = {"email": "me@example.com", "name": "n", "subject": "s", "message": "m", "sign_profile": people}
    archive.add("1.pdf", b"%PDF-1.7", provider="auco", key="1", compress="yes", **words)
    async with Sandbox() as sandbox:
        await archive.upload(sandbox, rate=1, max_duration="0.3s", drain=0.2)
        (row,) = archive.ledger_rows()
        assert (row["state"], row["stage"], row["error_code"]) == ("failed", "transfer", "url_expired")
        again = await archive.upload(sandbox)
        assert (again.failed, again.exit_code) == (1, 1)
        assert len(sandbox.auco.processes) == 1
        with open_ledger(archive.ledger) as ledger:
            assert ledger.release(["1"]) == ["1"]
        assert (await archive.upload(sandbox)).completed == 1
        assert len(sandbox.auco.processes) == 2


async def test_one_refused_row_does_not_stop_its_container(archive: Archive) -> None:
    """A single 404 is about that row: the others of its loan go on."""
    for number in range(30):
        archive.add(f"{number}.pdf", provider="loanpro", section_id="1", loan_id="7")
    gone = Rule(kind="status", vendor="loanpro", step="init", status=404, match="17.pdf")
    async with Sandbox(faults=Faults(rules=(gone,))) as sandbox:
        summary = await archive.upload(sandbox, concurrency=1)
        assert (summary.completed, summary.failed, summary.pending) == (29, 1, 0)


async def test_failures_of_earlier_runs_do_not_count(archive: Archive) -> None:
    """Rows that failed for good in one run don't use up the allowance of the next."""
    people = '[{"name": "A", "email": "a@example.com", "phone": "+1"}]'
    words = {"email": "me@example.com", "name": "n", "subject": "s", "message": "m", "sign_profile": people}
    for number in range(6):
        archive.add(f"{number}.pdf", b"%PDF-1.7", provider="auco", key=str(number), compress="yes", **words)
    late = Rule(kind="expired_url", vendor="auco", times=3)
    async with Sandbox(faults=Faults(rules=(late,))) as sandbox:
        assert (await archive.upload(sandbox, max_failures="2", concurrency=1)).exit_code == 4
        summary = await archive.upload(sandbox, max_failures="2", concurrency=1)
        assert (summary.completed, summary.failed, summary.pending, summary.exit_code) == (3, 3, 0, 1)
