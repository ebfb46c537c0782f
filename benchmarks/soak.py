"""Many small rows of all five vendors with 1 % of each fault on each step: does anything get lost, or grow?

    python -m benchmarks.soak --rows 100000

The stand-ins are in another process; files, tasks, threads and memory are counted in the one that sends. Auco's
creating call and its PUT can't be repeated, so a lost answer there leaves a row `unknown` by contract: Auco gets only
faults that leave no doubt, which are slow answers, and 429 to the creating call.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

import bulkup
from benchmarks.archive import StandIns, Truth, row_of, stand_ins, write
from bulkup.events import DocumentEnded, Event, Notice
from bulkup.sandbox import Faults, Rule

SHARE = 0.01
SLOW = 0.5  # seconds
_SAFE = ("lightreach", "loanpro", "alloy", "kompliant")
_WARM_UP = 0.2  # of the rows
_PER = 10_000  # rows
_LOOK_EVERY = 10  # rows
_MB = 1024 * 1024


def weather(seed: int = 1) -> Faults:
    """Each kind of fault on its share of each step's requests."""
    per_vendor: list[dict[str, object]] = [
        {"kind": "reset_before"},
        {"kind": "reset_mid"},
        {"kind": "reset_after"},
        {"kind": "truncate"},
        {"kind": "status", "status": 429, "retry_after": 0},
        {"kind": "status", "status": 503, "retry_after": 0},
    ]
    rules: list[dict[str, object]] = [{"vendor": vendor} | kind for vendor in _SAFE for kind in per_vendor]
    rules += [
        {"vendor": "auco", "step": "init", "kind": "status", "status": 429, "retry_after": 0},
        {"vendor": "lightreach", "step": "stream", "kind": "drop_stream"},
        {"kind": "latency", "seconds": SLOW},
    ]
    return Faults(seed=seed, rules=tuple(Rule.model_validate(rule | {"rate": SHARE}) for rule in rules))


@dataclass(frozen=True)
class Held:
    """What a process holds open."""

    files: int
    tasks: int
    threads: int

    def __str__(self) -> str:
        return f"{self.files} open files, {self.tasks} tasks, {self.threads} threads"

    @classmethod
    def now(cls) -> Held:
        """Of this process; call it in the event loop."""
        # the listing itself is one of them
        return cls(len(os.listdir("/proc/self/fd")) - 1, len(asyncio.all_tasks()), threading.active_count())  # noqa: PTH208


@dataclass
class Memory:
    """The resident size of this process while rows end.

    Attributes:
        looks: rows ended so far, and the size in bytes.
    """

    looks: list[tuple[int, int]] = field(default_factory=list)
    ended: int = 0

    def __call__(self, event: Event) -> None:
        """A subscriber of the run."""
        if isinstance(event, Notice):
            sys.stderr.write(f"{event.text}\n")
        if not isinstance(event, DocumentEnded):
            return
        self.ended += 1
        if event.state != bulkup.State.COMPLETED:
            sys.stderr.write(f"row {event.row} ({event.provider}): {event.state}: {event.error_code}: {event.error}\n")
        if self.ended % _LOOK_EVERY == 0:
            self.looks.append((self.ended, resident()))
        if self.ended % _PER == 0:
            sys.stderr.write(f"{self.ended} rows, {resident() / _MB:.1f} MB\n")

    def blocks(self, rows: int, count: int = 100) -> list[tuple[float, float]]:
        """The middle and the mean size in MB of each hundredth of the rows after the warm-up."""
        size = max(rows // count, _LOOK_EVERY)
        found: dict[int, list[int]] = {}
        for ended, held in self.looks:
            if ended > rows * _WARM_UP:
                found.setdefault(ended // size, []).append(held)
        return [((block + 0.5) * size, statistics.fmean(held) / _MB) for block, held in found.items()]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The least-squares slope and the half width of its 95 % interval.

    Neighbours resemble each other, so there are fewer independent points than points: n (1 - r) / (1 + r) with r the
    correlation of a residual with the next.
    """
    xs, ys = [x for x, _ in points], [y for _, y in points]
    rising, start = statistics.linear_regression(xs, ys)
    left = [y - start - rising * x for x, y in points]
    square = sum(each * each for each in left)
    r = max(0.0, sum(a * b for a, b in pairwise(left)) / square) if square else 0.0
    effective = max(3.0, len(points) * (1 - r) / (1 + r))
    spread = sum((x - statistics.fmean(xs)) ** 2 for x in xs)
    return rising, 1.96 * math.sqrt(square / (effective - 2) / spread * len(points) / effective)


@dataclass
class Soak:
    """What a soak showed.

    Attributes:
        rows: how many were sent.
        runs: the summary of each run of the manifest.
        seconds: of the first run.
        cpu: seconds of CPU of this process in all runs.
        before: what it held open at first.
        after: and in the end.
        memory: while the first run went on.
        truth: the stand-ins' side.
    """

    rows: int
    runs: list[bulkup.Summary]
    cpu: float
    before: Held
    after: Held
    memory: Memory
    truth: Truth

    @property
    def good(self) -> bool:
        """All is completed, once, within two runs, and nothing stayed open."""
        last = self.runs[-1]
        wrong = self.truth.missing.total() + self.truth.twice.total() + len(self.truth.breaches)
        return last.completed + last.skipped == self.rows and not wrong and self.before == self.after

    def lines(self) -> list[str]:
        """For people."""
        first = self.runs[0]
        kinds: Counter[str] = Counter()
        for (_, _, kind), times in self.truth.spoilt.items():
            kinds[kind] += times
        points = self.memory.blocks(self.rows)
        rising, wide = slope(points)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        speed = f"{self.rows / first.seconds:.0f} rows/s, {1000 * self.cpu / self.rows:.1f} ms of CPU a row"
        wrong = f"{self.truth.missing.total()} missing, {self.truth.twice.total()} twice"
        sizes = f"{points[0][1]:.1f} MB after the first {_WARM_UP:.0%}, {points[-1][1]:.1f} MB at the end"
        trend = f"slope {rising * _PER:+.2f} ± {wide * _PER:.2f} MB per {_PER} rows (95 %)"
        return [
            f"{self.rows} rows in {first.seconds:.0f} s: {speed}; {self.truth.requests} requests",
            *(f"run {number}: {_states(summary)}" for number, summary in enumerate(self.runs, 1)),
            f"at the vendors: {wrong}, {len(self.truth.breaches)} rules broken",
            f"faults: {kinds.total()}: " + ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items())),
            f"memory: {sizes}, {peak:.1f} MB at the peak; {trend}",
            f"at the start: {self.before}; at the end: {self.after}",
        ]


def _states(summary: bulkup.Summary) -> str:
    counts = {name: getattr(summary, name) for name in ("completed", "failed", "skipped", "unknown", "pending")}
    return ", ".join(f"{count} {name}" for name, count in counts.items())


async def soak(folder: Path, rows: int, servers: StandIns, manifest: Path) -> Soak:
    """Send so many rows, and what is left once more."""
    memory, runs = Memory(), []
    await _first_connection(servers)
    began, before = time.process_time(), Held.now()
    for subscriber in (memory, None):
        runs.append(
            await bulkup.upload(
                manifest, ledger=folder / "soak.db", environment=servers.environment, on_event=subscriber
            )
        )
        if runs[-1].exit_code == 0:
            break
    await asyncio.sleep(0.1)  # what was closed is gone after some rounds of the loop
    after, cpu = Held.now(), time.process_time() - began
    return Soak(rows, runs, cpu, before, after, memory, await asyncio.to_thread(servers.truth, rows))


async def _first_connection(servers: StandIns) -> None:
    """Connect once: from then on uvloop keeps a file open for as long as it lives."""
    url = urlsplit(servers.environment["BULKUP_ALLOY_BASE_URL"])
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.close()
    await writer.wait_closed()


def run(folder: Path, rows: int) -> Soak:
    """The whole, in this process and one for the stand-ins."""
    with ExitStack() as stack:
        servers = stack.enter_context(stand_ins(weather()))
        manifest = write(folder, map(row_of, range(rows)))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return runner.run(soak(folder, rows, servers, manifest))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), given.rows)
    sys.stdout.write("\n".join([*result.lines(), ""]))
    sys.exit(0 if result.good else 1)


if __name__ == "__main__":
    main()
