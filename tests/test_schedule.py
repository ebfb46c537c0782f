"""When to try again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.schedule import Backoff, retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DICE = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(1, 10_000), dice=DICE)
def test_waits_grow_up_to_the_longest(attempt: int, dice: float) -> None:
    """Each wait is between half and the whole of its ceiling, which doubles up to the longest."""
    backoff = Backoff(first=0.25, longest=20, patience=1e9)
    ceiling = min(20, 0.25 * 2.0 ** min(attempt - 1, 60))
    wait = backoff.wait(attempt, 0, dice)
    assert wait is not None
    assert ceiling / 2 <= wait <= ceiling


@given(attempt=st.integers(1, 100), elapsed=st.floats(0, 200), dice=DICE, asked=st.none() | st.floats(0, 200))
def test_patience_is_never_exceeded(attempt: int, elapsed: float, dice: float, asked: float | None) -> None:
    """No wait goes beyond the patience, and none undercuts what the server asked for."""
    wait = Backoff(patience=60).wait(attempt, elapsed, dice, asked)
    if wait is not None:
        assert elapsed + wait <= 60
        assert wait >= (asked or 0)
    elif asked is None:
        assert elapsed > 60 - 20


def test_no_patience() -> None:
    """Without patience nothing is tried again."""
    assert Backoff(patience=0).wait(1, 0, 0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, 999_999_999.0),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60.0),
        ("Fri, 02 Jan 2026 03:05:05 -0000", 60.0),
        ("Fri, 02 Jan 2026 04:05:05 +0100", 60.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0.0),
        ("Friday, 02-Jan-26 03:05:05 GMT", 60.0),
        ("Fri Jan  2 03:05:05 2026", 60.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds or an HTTP date in any of its three forms; anything else is nothing."""
    assert retry_after(value, NOW) == seconds


@given(
    st.text() | st.lists(st.sampled_from(["Mon,", "1", "Jan", "9" * 30, ":", "00:00:00", "+", "-99999"])).map(" ".join)
)
@example("1 Jan 24:61:00 99999999999999999999 GMT")
def test_retry_after_takes_anything(value: str) -> None:
    """No header a server may send raises."""
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@given(st.integers(-1000, 1_000_000))
def test_retry_after_dates(seconds: int) -> None:
    """A date is as many seconds away as it is, never less than none."""
    value = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after(value, NOW) == max(0, seconds)
