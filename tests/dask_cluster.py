"""A real Dask cluster on this machine: ``dask scheduler`` and ``dask worker``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self


class Dask:
    """A scheduler and some workers; a context manager.

    Args:
        folder: where they keep what they need.
        environment: of the workers: credentials and settings.

    Attributes:
        address: of the scheduler, once there is one.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self.environment = dict(environment)
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
            env=self.environment,
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
