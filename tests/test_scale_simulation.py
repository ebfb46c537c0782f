"""The simulation of many workers keeps to its own rules; what it finds, `make bench-scale` prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from benchmarks import scale_workers as model
from benchmarks.scale import FLOWS, KNOBS, knee
from benchmarks.scale_model import Cost, Costs, Flow, Log, Outcome, Station, World
from benchmarks.scale_workers import Simulation
from bulkup import fleet, worker
from bulkup.config import Settings

_NOTHING: dict[str, Any] = {f.name: Cost(0.0, 0.0) if f.type == "Cost" else 0.0 for f in fields(Costs)}
FREE = Costs(**_NOTHING)
SMALL = World(rows=3000, concurrency=8, api=(0.1, 0.1), store=(0.1, 0.1), job=(0.1, 0.1), trip=0.0)
PLAIN = Flow("plain")


def run(workers: int = 1, flow: Flow = PLAIN, costs: Costs = FREE, **world: Any) -> Outcome:
    """A small run in which, unless said otherwise, only the vendor's answers take time."""
    return Simulation(flow, replace(SMALL, **world), costs, workers).run()


def sending(outcome: Outcome) -> float:
    """Files per second, without the coordinator."""
    return outcome.rows / outcome.sending


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
@pytest.mark.parametrize("workers", [1, 7])
def test_each_row_is_sent_once(flow: Flow, workers: int) -> None:
    """Whatever the vendor's way, and however the shards fall; also where a container is not divided."""
    outcome = run(workers, flow, store=(0.01, 0.3))
    assert outcome.sent == b"\1" * 3000
    if not flow.job:  # a job is asked for as often as it takes
        assert outcome.requests == 3000 * (flow.init + flow.confirm + flow.to_api)


def test_one_worker_reaches_its_own_rate() -> None:
    """Eight uploads in flight of 0.2 s each are 40 files/s. 50 ms of CPU a file allow 20, two workers twice that."""
    assert sending(run()) == pytest.approx(40, rel=0.01)
    slow = replace(FREE, init=0.04, file=0.01)
    one, two = (run(workers, costs=slow, concurrency=32) for workers in (1, 2))
    assert 18.5 < sending(one) <= 20  # uploads that wait for one transaction come to the CPU all at once
    assert 37 < sending(two) <= 40
    assert one.binds == "worker CPU"


def test_a_vendors_limit_caps_the_rate() -> None:
    """Of requests a second, and of requests at a time."""
    assert sending(run(10, per_second=50)) == pytest.approx(50, rel=0.01)
    outcome = run(10, parallel=5, api=(0.05, 0.15))
    assert sending(outcome) == pytest.approx(50, rel=0.02)
    assert outcome.binds == "vendor"


def test_the_ledger_caps_the_rate() -> None:
    """Four marks a file of 5 ms each are 20 ms of CPU: one core takes 50 files/s, two cores 100."""
    costs = replace(FREE, mark=Cost(0.0, 0.005))
    outcome = run(10, costs=costs, cores=1)
    assert sending(outcome) == pytest.approx(50, rel=0.05)
    assert outcome.binds == "ledger CPU"
    assert sending(run(10, costs=costs, cores=2)) == pytest.approx(100, rel=0.05)


def test_what_bulkup_allows_itself_caps_the_rate() -> None:
    """Two uploads open of 0.2 s each are 10 files/s; one stream for jobs of 1 s and 1.6 questions a second, 2.6."""
    assert sending(run(followed=0.002)) == pytest.approx(10, rel=0.01)
    outcome = run(flow=Flow("jobs", job=True), followed=1 / 64, job=(1.0, 1.0), rows=500)
    assert sending(outcome) == pytest.approx(1 + 100 / 64, rel=0.1)
    assert outcome.binds == "jobs followed"


def test_workers_share_the_uploads_that_bulkup_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight for all of them, of 0.2 s each, are 40 files/s, however many workers there are."""
    monkeypatch.setattr(model, "_MOST_UPLOADS", 8)
    assert sending(run(4)) == pytest.approx(40, rel=0.01)


def test_commits_share_a_flush() -> None:
    """Whoever commits while the log is flushed waits for the next flush, and all who wait share it."""
    log = Log(1.0)
    assert [log.durable(now) for now in (0.0, 0.2, 0.9, 1.0, 1.5, 9.0)] == [1.0, 2.0, 2.0, 2.0, 3.0, 10.0]


def test_the_coordinator_comes_first() -> None:
    """All rows are taken in before the first is sent, however many workers wait."""
    outcome = run(10, costs=replace(FREE, admit=Cost(0.006, 0.004)))
    assert outcome.seconds - outcome.sending >= 30
    assert outcome.binds == "coordinator"


def test_the_same_seed_gives_the_same_run() -> None:
    """All of it; another seed another one."""
    outcomes = [run(5, FLOWS[1], store=(0.01, 0.3), seed=seed) for seed in (1, 1, 2)]
    assert outcomes[0] == outcomes[1] != outcomes[2]


def test_it_deals_out_work_as_the_fleet_does() -> None:
    """The numbers that it shares with the coordinator and the worker are theirs."""
    for name in ("_SHARDS_EACH", "_FEWEST", "_MOST", "_LOOK_EVERY", "_TELL_EVERY", "_TELL_SELDOM"):
        assert getattr(model, name) == getattr(fleet, name)
    assert model._RENEW_EVERY == worker._HEARS_WITHIN
    Settings(concurrency=model._MOST_UPLOADS)
    with pytest.raises(ValueError, match="less than or equal"):
        Settings(concurrency=model._MOST_UPLOADS + 1)


@pytest.mark.parametrize(("rate", "expected"), [(lambda n: min(n, 50.0), 62), (lambda n: n**0.5, 1), (float, 200)])
def test_the_knee(rate: Callable[[int], float], expected: int) -> None:
    """It is where a worker does 80 % of a single one, to a twentieth; or it is beyond all that is simulated."""
    assert knee(rate) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("name", KNOBS)
def test_a_knob_turns_something(name: str) -> None:
    """Each makes another world or other costs, and turned back the same."""
    case = SMALL, replace(FREE, admit=Cost(1.0, 1.0), mark=Cost(1.0, 1.0), file=1.0, flush=1.0)
    case = replace(case[0], trip=0.5), case[1]
    turned = KNOBS[name](case, 2)
    assert turned != case
    assert KNOBS[name](turned, 0.5) == case


def test_a_station_serves_in_order() -> None:
    """Two servers: the third waits for the first that is free."""
    station = Station(2)
    assert [station.serve(now, 2.0) for now in (0.0, 1.0, 1.0, 9.0)] == [2.0, 3.0, 4.0, 11.0]
    assert station.busy == 8.0
