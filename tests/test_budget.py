"""Where a run stops by itself: limits as they are written, and when they are reached."""

from __future__ import annotations

import pytest

from bulkup.budget import Budget, Failures, duration, failures


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1h30m", 5400), ("0.5", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    """A number is seconds; s, m and h add up."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1d", "1h30", "-1", "1 h", "h1"])
def test_what_is_no_duration(text: str) -> None:
    """It is refused, with examples of what would be right."""
    with pytest.raises(ValueError, match="1h30m"):
        duration(text)


def test_failures() -> None:
    """A number of rows, or a share of the manifest's."""
    assert failures("10") == Failures(10)
    assert failures("2.5%") == Failures(2.5, percent=True)
    for text in ("", "%", "1.5", "-1", "ten"):
        with pytest.raises(ValueError, match="such as 2%"):
            failures(text)


def test_each_limit_is_named_when_it_is_reached() -> None:
    """One failure more than allowed, the last second, the last request; what is not limited never stops."""
    spent = Budget(Failures(2), 60, 100).spent
    assert spent(failed=2, rows=9, seconds=59, requests=99) is None
    assert spent(failed=3, rows=9, seconds=0, requests=0) == "3 rows failed (--max-failures 2)"
    assert spent(failed=0, rows=9, seconds=60, requests=0) == "60 s are over (--max-duration)"
    assert spent(failed=0, rows=9, seconds=0, requests=100) == "100 requests were sent (--max-requests 100)"
    share = Budget(Failures(10, percent=True))
    assert share.spent(failed=10, rows=100, seconds=0, requests=0) is None
    assert share.spent(failed=11, rows=100, seconds=0, requests=0) == "11 rows failed (--max-failures 10%)"
    assert Budget().spent(failed=9, rows=9, seconds=1e9, requests=10**9) is None
