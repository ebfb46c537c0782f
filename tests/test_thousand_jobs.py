"""A thousand jobs at once, followed by the real command, which is killed in the middle and started again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox
from bulkup.track import Following
from tests.conftest import Archive
from tests.process import BULKUP, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JOBS = 1000
ROUNDING = 0.01  # seconds: two clocks, and timers in whole milliseconds


async def started(manifest: Path, sandbox: Sandbox) -> asyncio.subprocess.Process:
    """``bulkup run``, in a process of its own."""
    nothing = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *BULKUP,
        *("run", str(manifest), "--provider", "lightreach", "--retry-for", "300"),
        env=clean_environment(sandbox.environment()),
        cwd=manifest.parent,
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
    )


async def until(what: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
    """Wait for something that the command does, and that it does not end before."""
    while not what():
        assert process.returncode is None
        await asyncio.sleep(0.05)


async def test_a_thousand_jobs_at_once(archive: Archive) -> None:
    """Each job ends, though streams break and the process is killed; no job is polled twice in two seconds.

    One stream in ten is cut, and another one in ten refused with 503. All jobs are open when the process is killed, and
    until the second one has asked for each. At no time are there more streams than allowed, by the stand-in's count.
    """
    for number in range(JOBS):
        archive.add(f"{number}.pdf", external_reference=f"ref-{number}")
    manifest = archive.manifest()
    weather = (
        Rule(kind="drop_stream", step="stream", rate=0.1),
        Rule(kind="status", step="stream", status=503, rate=0.1),
    )
    async with Sandbox(faults=Faults(seed=1, rules=weather), options=LightReachOptions(job_delay=0)) as sandbox:
        vendor, jobs = sandbox.lightreach, sandbox.lightreach.jobs
        vendor.at_work.clear()

        def asked(since: float) -> int:
            return sum(bool(job.polls) and job.polls[-1] > since for job in jobs.values())

        first = await started(manifest, sandbox)
        await until(lambda: sum(job.working for job in jobs.values()) == JOBS, first)
        await until(lambda: asked(0) >= JOBS - 2 * Following().streams, first)
        await asyncio.sleep(1)  # the last marks of what is stored are written
        first.kill()
        await first.wait()
        killed = time.time()

        second = await started(manifest, sandbox)
        await until(lambda: asked(killed) >= JOBS - 2 * Following().streams, second)
        vendor.at_work.set()
        assert await second.wait() == 0
        assert [row["state"] for row in archive.ledger_rows()] == ["completed"] * JOBS
        assert len(vendor.documents) == len(jobs) == JOBS
        assert {job.event for job in jobs.values()} <= {"complete", "imageVariantsReady"}
        assert 1 < sandbox.requests.streams.max <= Following().streams
        assert sandbox.spoilt["lightreach", "stream", "drop_stream"] > 0
        polls = [job.polls for job in jobs.values()]
        gaps = [after - before for each in polls for before, after in pairwise(each) if not before < killed < after]
        assert not [gap for gap in gaps if gap < 2 - ROUNDING]
        assert not sandbox.breaches
