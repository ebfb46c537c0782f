"""Workers as processes of this machine.

Each is a Python of its own, which gets its assignment by its standard input: credentials stay out of arguments and
files. That input stays open as long as the coordinator lives, so a worker ends with it, whatever ends it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import platform
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from secrets import token_hex

import anyio

from bulkup import logs
from bulkup.engine import Run
from bulkup.errors import BulkupError
from bulkup.worker import Assignment, work

_REGISTERS_WITHIN = 60.0
"""Seconds in which a process has to appear in the ledger."""

_COLLECTED_EVERY = 10_000


class Processes:
    """A `bulkup.fleet.Crew` of processes."""

    def __init__(self) -> None:
        self._alive: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}

    async def start(self, assignment: Assignment) -> str:
        """See `Crew.start`."""
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-m", "bulkup.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for the coordinator, which tells the workers
        )
        name = f"{platform.node()}:{process.pid}:{token_hex(4)}"
        self._alive[name] = process
        self._started[name] = time.monotonic()
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):  # it ended at once, which is seen when it is looked for
            process.stdin.write(pickle.dumps(replace(assignment, name=name)))
            process.stdin.flush()
        return name

    def kill(self, names: Collection[str]) -> None:
        """See `Crew.kill`: with them ends what they hold of a SQLite file."""
        for name in self._alive.keys() & set(names):
            self._alive[name].kill()

    def gone(self, registered: Collection[str]) -> frozenset[str]:
        """See `Crew.gone`."""
        gone = set()
        for name, process in list(self._alive.items()):
            late = name not in registered and time.monotonic() - self._started[name] > _REGISTERS_WITHIN
            if late:
                process.kill()
            if process.poll() is not None or late:
                self._end(name)
                gone.add(name)
        return frozenset(gone)

    def alive(self) -> frozenset[str]:
        """See `Crew.alive`."""
        return frozenset(self._alive)

    def close(self) -> frozenset[str]:
        """See `Crew.close`."""
        names = self.alive()
        for process in self._alive.values():
            process.kill()
        for name in names:
            self._end(name)
        return names

    def _end(self, name: str) -> None:
        process = self._alive.pop(name)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


async def _work() -> None:
    """A worker's life: an assignment, and then the end of the input means that the coordinator is gone."""
    assignment: Assignment = pickle.load(sys.stdin.buffer)  # noqa: S301 - the coordinator's own, by a pipe of its own
    logs.write(assignment.verbose)
    if assignment.terms.private_names:
        logs.keep_names_private()
    loop = asyncio.get_running_loop()

    def begun(run: Run) -> None:
        def alone() -> None:
            if not os.read(sys.stdin.fileno(), 1):
                loop.remove_reader(sys.stdin.fileno())
                run.interrupt()
                run.interrupt()

        loop.add_reader(sys.stdin.fileno(), alone)

    await work(assignment, begun=begun)


def main() -> int:
    """Be a worker; gives the exit code."""
    gc.freeze()
    gc.set_threshold(_COLLECTED_EVERY)
    try:
        anyio.run(_work, backend_options={"use_uvloop": find_spec("uvloop") is not None})
    except BulkupError as error:
        sys.stderr.write(f"bulkup: a worker ended: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
