"""Where a shared run stops scaling: 1 to 200 workers, a ledger in PostgreSQL, the five vendors, in virtual time.

    python -m benchmarks.scale_costs --output costs.json
    python -m benchmarks.scale --costs costs.json [--only VENDOR ...] [--rows 50000] [--output FILE]

For each vendor a table: files a second, what part of so many single workers that is, what one more worker gives, and
what binds. Then the knee, the most workers that each do 80 % of a single one. For two vendors also where it goes when
one thing is halved, doubled, or made ten times as much. The simulation is `benchmarks.scale_workers`;
`benchmarks.scale_model` says what it is told: costs that were measured, and a world that is assumed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.scale_model import Cost, Costs, Flow, Outcome, World
from benchmarks.scale_workers import Simulation

FLOWS = (
    Flow("lightreach", batch=25, job=True),
    Flow("loanpro", container=10),
    Flow("alloy", to_api=True, container=10),
    Flow("kompliant", confirm=1, container=10),
    Flow("auco", init=0, to_api=True),
)
"""Requests by the vendors' guides: LoanPro's rows without properties to update, Auco's PDFs inside the call."""

WORKERS = (1, 2, 5, 10, 20, 50, 100, 200)
LIMIT = 200.0
"""Requests per second of the vendor with a limit, as in `benchmarks.pace`."""
_EFFICIENT = 0.8
_STUDIED = ("lightreach", "loanpro")
"""25 files an init, and one."""

Case = tuple[World, Costs]


def _world(case: Case, factor: float, *names: str) -> Case:
    """One or more numbers of the world, or ranges of such, times a factor."""
    world, costs = case
    new: dict[str, Any] = {name: _times(getattr(world, name), factor) for name in names}
    return replace(world, **new), costs


def _times(value: Any, factor: float) -> Any:
    """Of the same type: a number, or a range of two."""
    return tuple(_times(each, factor) for each in value) if isinstance(value, tuple) else type(value)(value * factor)


def _costs(case: Case, factor: float, *names: str) -> Case:
    """One or more costs times a factor."""
    world, costs = case
    new: dict[str, Any] = {name: getattr(costs, name) for name in names}
    new = {name: cost.times(factor) if isinstance(cost, Cost) else cost * factor for name, cost in new.items()}
    return world, replace(costs, **new)


KNOBS: Mapping[str, Callable[[Case, float], Case]] = {
    "a worker's CPU for a file": lambda case, by: _costs(case, by, "init", "file"),
    "uploads in flight of a worker": lambda case, by: _world(case, by, "concurrency"),
    "jobs that bulkup follows": lambda case, by: _world(case, by, "followed"),
    "how long an answer takes": lambda case, by: _world(case, by, "api", "store"),
    "how long a job takes": lambda case, by: _world(case, by, "job"),
    "cores of the ledger": lambda case, by: _world(case, by, "cores"),
    "marks: transaction, kind, each": lambda case, by: _costs(case, by, "transaction", "statement", "mark"),
    "a flush of the ledger's log": lambda case, by: _costs(case, by, "flush"),
    "the way to the ledger": lambda case, by: _world(case, by, "trip"),
    "taking a row in": lambda case, by: _costs(case, by, "admit", "cut"),
}
"""What may be turned, by these."""

FACTORS = {"halved": 0.5, "doubled": 2, "tenfold": 10}


def simulate(flow: Flow, case: Case, workers: int) -> Outcome:
    """One run."""
    return Simulation(flow, *case, workers).run()


def knee(rate: Callable[[int], float]) -> int:
    """The most workers, up to 200, of which each does 80 % of what a single one does."""
    alone, low, high = rate(1), 1, WORKERS[-1] + 1
    while high - low > max(1, low // 20):
        middle = round((low * high) ** 0.5) if high > 2 * low else (low + high) // 2
        if rate(middle) >= _EFFICIENT * middle * alone:
            low = middle
        else:
            high = middle
    return low


def studied(flow: Flow, case: Case) -> tuple[int, float]:
    """The knee, and the files per second there."""
    found: dict[int, float] = {}

    def rate(workers: int) -> float:
        if workers not in found:
            found[workers] = simulate(flow, case, workers).rate
        return found[workers]

    return (at := knee(rate)), found[at]


def table(flow: Flow, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What so many workers do."""
    yield f"{flow.name}: {outcomes[0].rows} files"
    yield f"  {'workers':>7}{'files/s':>9}{'sending':>9}{'of single ones':>16}{'one more gives':>16}  binds"
    alone = outcomes[0].rate
    gains = [(b.rate - a.rate) / (b.workers - a.workers) / alone for a, b in pairwise(outcomes)]
    for outcome, gain in zip(outcomes, ["", *(f"{gain:.0%}" for gain in gains)], strict=True):
        sending = outcome.rows / outcome.sending
        part = outcome.rate / outcome.workers / alone
        yield f"  {outcome.workers:>7}{outcome.rate:>9.0f}{sending:>9.0f}{part:>16.0%}{gain:>16}  {outcome.binds}"


def measure(pool: Executor, flow: Flow, case: Case) -> tuple[list[Outcome], list[Outcome]]:
    """Without a limit, and with one."""
    limited = replace(case[0], per_second=LIMIT), case[1]
    free = pool.map(partial(simulate, flow, case), WORKERS)
    return list(free), list(pool.map(partial(simulate, flow, limited), WORKERS[:3]))


def sensitivity(pool: Executor, flow: Flow, case: Case) -> dict[str, list[tuple[int, float]]]:
    """The knee and its files per second as things are and, of a vendor that is studied, with each knob turned."""
    found = {"as it is": [pool.submit(studied, flow, case)]}
    for name, turn in KNOBS.items() if flow.name in _STUDIED else ():
        found[name] = [pool.submit(studied, flow, turn(case, factor)) for factor in FACTORS.values()]
    return {name: [each.result() for each in futures] for name, futures in found.items()}


def _cost(value: list[float] | float) -> Cost | float:
    return Cost(*value) if isinstance(value, list) else value


def _facts(outcome: Outcome) -> dict[str, object]:
    """For JSON."""
    facts = {name: value for name, value in asdict(outcome).items() if name != "sent"}
    return facts | {"rate": outcome.rate, "binds": outcome.binds}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--costs", type=Path, required=True, help="as benchmarks.scale_costs keeps them")
    parser.add_argument("--only", nargs="+", choices=[flow.name for flow in FLOWS])
    parser.add_argument("--rows", type=int, default=World.rows, help="of an archive; with 25 an init ten times as many")
    parser.add_argument("--output", type=Path, help="keep all of it as JSON")
    given = parser.parse_args()
    costs: dict[str, Any] = {name: _cost(value) for name, value in json.loads(given.costs.read_text()).items()}
    facts: dict[str, object] = {"costs": costs, "world": {k: str(v) for k, v in asdict(World()).items()}}
    with ProcessPoolExecutor() as pool:
        for flow in FLOWS:
            if given.only and flow.name not in given.only:
                continue
            case = World(rows=given.rows * (10 if flow.batch > 1 else 1)), Costs(**costs)
            free, limited = measure(pool, flow, case)
            print("\n".join(table(flow, free)))
            print("\n".join(table(replace(flow, name=f"{flow.name}, {LIMIT:g} requests/s"), limited)), flush=True)
            facts[flow.name] = {"free": list(map(_facts, free)), "limited": list(map(_facts, limited))}
            knees = sensitivity(pool, flow, case)
            print(f"  {'knee: workers, files/s':32}" + "".join(f"{name:>16}" for name in FACTORS))
            for name, results in knees.items():
                print(f"  {name:32}" + "".join(f"{at:>8}{rate:>8.0f}" for at, rate in results), flush=True)
            facts[f"{flow.name}: knees"] = knees
    if given.output is not None:
        given.output.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
