"""A run on a real Dask cluster: scheduler and workers in processes of their own, the ledger in PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bulkup.sandbox import Faults, Sandbox
from tests import postgresql
from tests.conftest import Archive
from tests.dask_cluster import Dask
from tests.process import clean_environment
from tests.test_conformance import until
from tests.test_fleet import SLOW, STARTED, accounts, held

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("event", ["nothing", "SIGKILL", "SIGSTOP", "scheduler"])
async def test_two_dask_workers(archive: Archive, tmp_path: Path, event: str) -> None:
    """Each row is stored once: a worker is lost, or stands still for a while, or the whole cluster starts again."""
    expected = accounts(archive, 300)
    archive.ledger = postgresql.ledger()
    async with Sandbox(faults=Faults(rules=(SLOW,))) as sandbox:
        with Dask(tmp_path, clean_environment(sandbox.environment())) as dask:
            given: dict[str, Any] = {
                "engine": "dask",
                "scheduler": dask.address,
                "processes": 2,
                "lease": 2,
                "concurrency": 8,
                "retry_for": 60,
            }
            running = asyncio.create_task(archive.upload(sandbox, **given))
            if event != "nothing":
                await until(lambda: sandbox.requests["lightreach", "init"] > 60 or running.done(), STARTED)
            if event == "SIGKILL":
                dask.victim().kill()
            elif event == "SIGSTOP":
                os.kill(dask.victim().pid, signal.SIGSTOP)
                await until(lambda: (1,) in archive.sql("SELECT 1 FROM workers WHERE ended") or running.done(), STARTED)
                os.kill(dask.victim().pid, signal.SIGCONT)
            elif event == "scheduler":
                dask.kill()
                dask.begin()
            summary = await running
        assert (summary.completed, summary.exit_code) == (300, 0)
        assert held(sandbox) == expected
        assert not sandbox.breaches
