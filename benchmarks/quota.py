"""Give a command, and each process that it starts, a part of a core of its own: ``python -m benchmarks.quota 0.4 CMD``.

On two cores, two workers, their coordinator, the store and the vendor are in each other's way, and what more workers
give can't be seen. With quotas (Linux's control groups, version 1) each has what it would have on a machine with more
and slower cores. It needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup/cpu")
_PERIOD = 20_000
"""Microseconds."""
_EVERY = 0.01


def missing() -> str | None:
    """What this machine lacks, if it does."""
    usable = (_GROUPS / "cpu.cfs_quota_us").exists() and os.access(_GROUPS, os.W_OK)
    return None if usable else "control groups of version 1, and the right to make some"


class Quotas:
    """Groups of one process each.

    Args:
        part: of a core, for each.
    """

    def __init__(self, part: float) -> None:
        self._part = part
        self._groups: dict[int, Path] = {}

    def limit(self, process: int) -> None:
        """Give a process a group of its own, once."""
        if process in self._groups:
            return
        group = self._groups[process] = _GROUPS / f"bulkup-benchmark-{process}"
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(int(self._part * _PERIOD)))
        with suppress(ProcessLookupError):  # it ended just now
            (group / "cgroup.procs").write_text(str(process))

    def remove(self) -> None:
        """Remove the groups; their processes have ended."""
        for group in self._groups.values():
            group.rmdir()


def _children(process: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def main() -> int:
    """Run the command; gives its exit code."""
    quotas = Quotas(float(sys.argv[1]))
    try:
        with subprocess.Popen(sys.argv[2:]) as process:
            quotas.limit(process.pid)
            while process.poll() is None:
                for child in _children(process.pid):
                    quotas.limit(child)
                time.sleep(_EVERY)
        return process.returncode
    finally:
        quotas.remove()


if __name__ == "__main__":
    sys.exit(main())
