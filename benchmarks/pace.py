"""How much of a limit that nobody told is used, and how near adaptive concurrency comes to the best fixed one.

    python -m benchmarks.pace --rounds 3

The stand-ins are in another process, and count by their own clock. Rounds follow each other, so that what else the
machine does meets all cases alike; medians are reported.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

import bulkup
from benchmarks.archive import Truth, rows_of, stand_ins, write
from bulkup.sandbox import Faults, Rule

LIMIT = 200  # requests a second
LATENCY = 0.05  # seconds
LIMITERS: dict[str, dict[str, object]] = {
    "bucket of 1": {"burst": 1},
    "bucket of 20": {"burst": 20},
    "bucket of 200": {"burst": 200},
    "fixed window": {"window": "fixed"},
    "sliding window": {"window": "sliding"},
}
HINTS: dict[str, int | None] = {"loanpro": None, "alloy": 0}
"""The Retry-After of a vendor's 429, if there is one."""
Case = tuple[str, int | None, float]  # vendor, Retry-After, latency
SWEEP = (16, 32, 64, 128)


def send(folder: Path, manifest: Path, way: str, faults: Faults, **options: Any) -> tuple[bulkup.Summary, Truth]:
    """One run against fresh stand-ins."""
    ledger = folder / "pace.db"
    for left in folder.glob("pace.db*"):
        left.unlink()
    with stand_ins(faults) as servers:
        summary = uvloop.run(
            bulkup.upload(manifest, ledger=ledger, provider=way, environment=servers.environment, **options)
        )
        return summary, servers.truth(0)


def limited(folder: Path, rounds: int, seconds: int) -> Iterator[str]:
    """What is taken of a limit, and what is refused."""
    cases: list[Case] = [
        *((way, hint, 0.0) for way, hint in HINTS.items()),
        ("loanpro", 1, 0.0),
        ("loanpro", None, LATENCY),
    ]
    manifests = {way: write(_below(folder, way), rows_of(way, LIMIT * (seconds + 4) // 2)) for way in HINTS}
    found: defaultdict[tuple[str, Case], list[tuple[float, float]]] = defaultdict(list)
    for number in range(rounds):
        for limiter, how in LIMITERS.items():
            for way, hint, latency in cases:
                rule = {"kind": "limit", "vendor": way, "per_second": LIMIT, "retry_after": hint} | how
                rules = (Rule(kind="latency", vendor=way, step="*", seconds=latency), Rule.model_validate(rule))
                options = {"max_duration": f"{seconds}s", "drain": 5}
                _, truth = send(folder, manifests[way], way, Faults(rules=rules), **options)
                taken, refused = (sum(each) for each in zip(*truth.limits[0][:seconds], strict=True))
                found[limiter, (way, hint, latency)].append((taken / LIMIT / seconds, refused / (taken + refused)))
        sys.stderr.write(f"round {number + 1} of {rounds}\n")
    yield f"{LIMIT} requests a second allowed, 429 otherwise, {seconds} s, no --rate, median of {rounds} rounds"
    yield f"{'limiter':16}{'vendor':9}{'Retry-After':>12}{'latency':>9}{'used':>9}{'429':>8}"
    for (limiter, (way, hint, latency)), figures in sorted(found.items(), key=str):
        used, refused = (statistics.median(each) for each in zip(*figures, strict=True))
        asked = "none" if hint is None else f"{hint} s"
        yield f"{limiter:16}{way:9}{asked:>12}{f'{latency * 1000:.0f} ms':>9}{used:>9.1%}{refused:>8.2%}"


def unlimited(folder: Path, rounds: int, rows: int) -> Iterator[str]:
    """Rows a second by fixed concurrency, and with the adaptive one."""
    late = Faults(rules=(Rule(kind="latency", step="*", seconds=LATENCY),))
    manifests = {way: write(_below(folder, way), rows_of(way, rows)) for way in HINTS}
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        for way, manifest in manifests.items():
            for concurrency in SWEEP:
                summary, _ = send(folder, manifest, way, late, concurrency=concurrency, adaptive=False)
                found[way, f"fixed {concurrency}"].append(rows / summary.seconds)
            summary, _ = send(folder, manifest, way, late, concurrency=SWEEP[-1])
            found[way, "adaptive"].append(rows / summary.seconds)
        sys.stderr.write(f"round {number + 1} of {rounds}\n")
    yield f"{LATENCY * 1000:.0f} ms on each answer, no limit, {rows} rows, rows/s, median of {rounds} rounds"
    yield f"{'':12}" + "".join(f"{way:>10}" for way in HINTS)
    names = [*(f"fixed {concurrency}" for concurrency in SWEEP), "adaptive"]
    speeds = {key: statistics.median(figures) for key, figures in found.items()}
    for name in names:
        yield f"{name:12}" + "".join(f"{speeds[way, name]:>10.0f}" for way in HINTS)
    best = {way: max(speeds[way, name] for name in names[:-1]) for way in HINTS}
    yield f"{'of the best':12}" + "".join(f"{speeds[way, 'adaptive'] / best[way]:>10.1%}" for way in HINTS)


def _below(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(exist_ok=True)
    return made


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--only", choices=["limited", "unlimited"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if given.only != "unlimited":
            sys.stdout.writelines(f"{line}\n" for line in limited(Path(name), given.rounds, given.seconds))
        if given.only != "limited":
            sys.stdout.writelines(f"{line}\n" for line in unlimited(Path(name), given.rounds, given.rows))


if __name__ == "__main__":
    main()
