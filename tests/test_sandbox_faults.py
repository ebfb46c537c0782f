"""The fault plan: what it may say, and what it decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulkup.sandbox import Faults, Rule, Sandbox
from bulkup.sandbox.dice import Dice


def hits(faults: Faults, count: int, step: str = "put") -> list[int]:
    """Which of so many requests are spoilt."""
    dice = Dice(faults)
    return [number for number in range(count) if dice.request("lightreach", step, "")[1] is not None]


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "explode"},
        {"kind": "latency"},
        {"kind": "status"},
        {"kind": "early"},
        {"kind": "status", "status": 99},
        {"kind": "status", "status": 503, "at_byte": 3},
        {"kind": "reset_before", "retry_after": 1},
        {"kind": "reset_after", "rate": 1.5},
        {"kind": "reset_after", "times": 0},
        {"kind": "reset_after", "steps": "put"},
        {"kind": "drop_stream", "step": "put"},
        {"kind": "reset_mid", "step": "stream"},
        {"kind": "close_port", "step": "stream"},
        {"kind": "close_kept", "seconds": 1},
        {"kind": "job_failed", "step": "put"},
        {"kind": "limit"},
        {"kind": "limit", "per_second": 0},
        {"kind": "limit", "per_second": 5, "burst": 0.5},
        {"kind": "limit", "per_second": 5, "window": "fixed", "burst": 5},
        {"kind": "status", "status": 429, "per_second": 5},
    ],
)
def test_bad_rule(rule: dict[str, Any]) -> None:
    """A rule that can't be carried out is refused."""
    with pytest.raises(ValueError, match=r"."):
        Rule(**rule)


def test_bad_plan_is_one_sentence(tmp_path: Path) -> None:
    """A bad plan file is one error that names the file, the place and what is wrong."""
    path = tmp_path / "plan.json"
    path.write_text('{"seed": 1, "rules": [{"kind": "latency", "seconds": 1}, {"kind": "status", "status": "x"}]}')
    with pytest.raises(ValueError, match=r"plan\.json: rules\.1\.status: .*integer") as caught:
        Faults.load(path)
    assert "\n" not in str(caught.value)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"plan\.json: Invalid JSON"):
        Faults.load(path)
    with pytest.raises(ValueError, match=r"none\.json: No such file"):
        Faults.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    "rule", [Rule(kind="reset_after", vendor="acme"), Rule(kind="reset_after", vendor="lightreach", step="upload")]
)
def test_unknown_name(rule: Rule) -> None:
    """A rule for a vendor or step that isn't there is refused when the plan is set."""
    with pytest.raises(ValueError, match="is none of"):
        Sandbox(faults=Faults(rules=(rule,)))
    sandbox = Sandbox()
    with pytest.raises(ValueError, match="is none of"):
        sandbox.faults = Faults(rules=(rule,))


def test_plan_survives_json() -> None:
    """A plan written as JSON and read again is the same."""
    plan = Faults(seed=7, rules=(Rule(kind="status", status=503, step="put", rate=0.1, retry_after=2),))
    assert Faults.parse(plan.model_dump_json()) == plan


def test_rate_is_kept_and_seeded() -> None:
    """A rate hits its share; the same seed hits the same, another seed others."""
    rule = Rule(kind="reset_after", rate=0.1)
    first = hits(Faults(seed=1, rules=(rule,)), 2000)
    assert 150 < len(first) < 250
    assert hits(Faults(seed=1, rules=(rule,)), 2000) == first
    assert hits(Faults(seed=2, rules=(rule,)), 2000) != first


def test_rate_does_not_depend_on_other_steps() -> None:
    """What is drawn for one step is the same however other steps' requests come between."""
    faults = Faults(seed=1, rules=(Rule(kind="reset_after", rate=0.5),))
    dice = Dice(faults)
    mixed = []
    for number in range(100):
        dice.request("lightreach", "init", "")
        if dice.request("lightreach", "put", "")[1] is not None:
            mixed.append(number)
    assert mixed == hits(faults, 100)


def test_after_and_times() -> None:
    """``after`` leaves the first alone, ``times`` is the most that are hit."""
    assert hits(Faults(rules=(Rule(kind="reset_after", after=2, times=3),)), 10) == [2, 3, 4]


def test_first_rule_wins_and_latency_adds() -> None:
    """The first rule that hits spoils the request; latency adds up before it."""
    latency = Rule(kind="latency", seconds=1)
    rules = (latency, latency, Rule(kind="reset_after"), Rule(kind="reset_before"))
    delay, rule = Dice(Faults(rules=rules)).request("lightreach", "put", "")
    assert delay == 2
    assert rule is rules[2]


def test_match_counts_only_what_it_matches() -> None:
    """With ``match`` other requests neither are hit nor count."""
    dice = Dice(Faults(rules=(Rule(kind="reset_after", match="b.pdf", times=1),)))
    drawn = [dice.request("lightreach", "put", subject)[1] is not None for subject in ("a.pdf", "b.pdf", "b.pdf")]
    assert drawn == [False, True, False]


def test_a_new_connection_is_no_kept_one() -> None:
    """``close_kept`` neither hits nor counts the first request over a connection."""
    dice = Dice(Faults(rules=(Rule(kind="close_kept", times=1),)))
    kept = (False, True, True)
    assert [dice.request("lightreach", "put", "", kept=each)[1] is not None for each in kept] == [False, True, False]


def test_stream_kinds_leave_other_steps_alone() -> None:
    """With step ``*`` a stream's fault hits streams only, and a body's fault all but streams."""
    assert hits(Faults(rules=(Rule(kind="drop_stream"),)), 3) == []
    assert hits(Faults(rules=(Rule(kind="drop_stream"),)), 3, "stream") == [0, 1, 2]
    assert hits(Faults(rules=(Rule(kind="truncate"),)), 3, "stream") == []


def test_what_was_spoilt_is_counted() -> None:
    """By vendor, step and kind, with the status where there is one; what was left alone does not count."""
    rules = (
        Rule(kind="latency", step="put", seconds=1, times=2),
        Rule(kind="status", step="init", status=429, times=1),
        Rule(kind="job_never", after=1),
    )
    dice = Dice(Faults(rules=rules))
    for _ in range(3):
        dice.request("alloy", "init", "")
        dice.request("alloy", "put", "")
        dice.outcome("job_never", "lightreach", "")
    assert dice.spoilt == {
        ("alloy", "init", "status 429"): 1,
        ("alloy", "put", "latency"): 2,
        ("lightreach", "job_never", "job_never"): 2,
    }
