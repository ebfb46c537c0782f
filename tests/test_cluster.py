"""A run on a real Dask cluster: scheduler and workers in processes of their own, the ledger in PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from bulkup.sandbox import Faults, Sandbox
from tests import postgresql
from tests.conftest import Archive
from tests.process import clean_environment
from tests.test_conformance import until
from tests.test_fleet import SLOW, STARTED, accounts, held

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Dask:
    """A scheduler and some workers; a context manager.

    Args:
        folder: where they keep what they need.
        environment: credentials and settings of the workers.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = clean_environment(environment)
        self._processes: list[subprocess.Popen[str]] = []
        self.address = ""

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def begin(self, workers: int = 2) -> None:
        """Start a scheduler, at the same address as the last one, and workers."""
        port = self.address.rpartition(":")[2] or "0"
        scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show")
        assert scheduler.stderr is not None
        for line in scheduler.stderr:
            if "Scheduler at:" in line:
                self.address = line.split()[-1]
                break
        for _ in range(workers):
            self.worker()

    def worker(self) -> subprocess.Popen[str]:
        """One more worker."""
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + what, *arguments],
            cwd=self._folder,
            env=self._environment,
            stderr=subprocess.PIPE if what == "scheduler" else subprocess.DEVNULL,
            text=True,
        )
        self._processes.append(process)
        return process

    def kill(self) -> None:
        """End all of them at once."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        self._processes.clear()

    def victim(self) -> subprocess.Popen[str]:
        """One of the workers."""
        return self._processes[1]


@pytest.mark.parametrize("event", ["nothing", "SIGKILL", "SIGSTOP", "scheduler"])
async def test_two_dask_workers(archive: Archive, tmp_path: Path, event: str) -> None:
    """Each row is stored once: a worker is lost, or stands still for a while, or the whole cluster starts again."""
    expected = accounts(archive, 300)
    archive.ledger = postgresql.ledger()
    async with Sandbox(faults=Faults(rules=(SLOW,))) as sandbox:
        with Dask(tmp_path, sandbox.environment()) as dask:
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
