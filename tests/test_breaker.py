"""The circuit breaker: when a server counts as down, and how rarely it is asked then."""

from __future__ import annotations

from bulkup.breaker import Breaker


def broken(at: float = 0.0) -> Breaker:
    """One that has just opened."""
    breaker = Breaker()
    assert [breaker.failed(at) for _ in range(8)] == [False] * 7 + [True]
    return breaker


def test_it_takes_several_failures_in_a_row() -> None:
    """An answer in between starts the count anew."""
    breaker = Breaker()
    for _ in range(5):
        assert not any(breaker.failed(0) for _ in range(7))
        assert not breaker.succeeded()
    assert breaker.wait(0) == 0


def test_while_open_probes_go_out_ever_more_rarely() -> None:
    """The pause doubles up to 15 s."""
    breaker, now, pauses = broken(), 0.0, []
    for _ in range(8):
        pauses.append(breaker.wait(now))
        now += breaker.wait(now)
        assert breaker.wait(now) == 0
        breaker.probing(now)
        assert not breaker.failed(now)  # it is told once
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_one_answer_closes_it() -> None:
    """It says so once, and begins anew with short pauses."""
    breaker = broken()
    breaker.probing(1)
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert (breaker.wait(1), breaker.opened_at) == (0, None)
    breaker = broken(at=10)
    assert breaker.wait(10) == 0.5
