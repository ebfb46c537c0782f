"""The sandbox's limits of requests: never more than they say, and never less."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.sandbox import Rule
from bulkup.sandbox.limits import Limit, Window
from tests.test_sandbox_support import sandboxed

# multiples of 1/64, so that sums are exact and the edges of windows are met
STEPS = st.lists(st.integers(0, 96).map(lambda n: n / 64), min_size=1, max_size=200)


def taken(window: Window, per_second: int, steps: list[float], burst: int = 1) -> list[tuple[float, bool]]:
    """When requests came, and whether each was taken."""
    limit, now, found = Limit(window, per_second, burst), 1000.0, []
    for step in steps:
        now += step
        found.append((now, limit.takes(now)))
    assert [sum(each) for each in zip(*limit.seconds, strict=True)] == [
        sum(good for _, good in found),
        sum(not good for _, good in found),
    ]
    return found


@given(steps=STEPS, per_second=st.integers(1, 8), burst=st.integers(1, 5))
def test_a_bucket_takes_its_burst_and_its_rate(steps: list[float], per_second: int, burst: int) -> None:
    """A request is refused if, and only if, less than one token came together since."""
    tokens, last = Fraction(burst), 1000.0
    for at, good in taken("bucket", per_second, steps, burst):
        tokens = min(Fraction(burst), tokens + Fraction(at - last) * per_second)
        last = at
        assert good == (tokens >= 1)
        tokens -= good


@given(steps=STEPS, per_second=st.integers(1, 8))
def test_a_fixed_window_takes_so_many_in_each_second_of_the_clock(steps: list[float], per_second: int) -> None:
    """A request is refused if, and only if, so many were taken in its second."""
    found = taken("fixed", per_second, steps)
    for number, (at, good) in enumerate(found):
        before = sum(was for then, was in found[:number] if int(then) == int(at))
        assert good == (before < per_second)


@given(steps=STEPS, per_second=st.integers(1, 8))
def test_a_sliding_window_takes_so_many_in_any_second(steps: list[float], per_second: int) -> None:
    """A request is refused if, and only if, so many were taken in the second before it."""
    found = taken("sliding", per_second, steps)
    for number, (at, good) in enumerate(found):
        before = sum(was for then, was in found[:number] if then > at - 1)
        assert good == (before < per_second)


@pytest.mark.parametrize("window", ["bucket", "fixed", "sliding"])
def test_a_clock_that_goes_back_gives_nothing(window: Window) -> None:
    """As when the machine's time is set."""
    limit = Limit(window, 1)
    assert limit.takes(1000.5)
    assert not any(limit.takes(at) for at in (1000.4, 999.0, 1000.49))


async def test_over_the_limit_is_429() -> None:
    """Beyond what a bucket holds requests are answered as the rule says, have no effect, and are counted by second."""
    rule = Rule(kind="limit", step="init", per_second=0.001, burst=2, retry_after=7, message="slow down")
    async with sandboxed(rule) as client:
        body = {"files": [{"filename": "a.pdf", "size": 1}], "type": "utilityBill"}
        assert [(await client.try_init(body))[0] for _ in range(2)] == [202, 202]
        async with client.http.post(client.documents(), json=body, headers=client.bearer) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
            assert await answer.json() == {"message": "slow down"}
        assert (await client.api("GET", client.documents()))[0] == 200  # another step
        assert len(client.sandbox.lightreach.jobs) == 2
        assert [sum(each) for each in zip(*client.sandbox.limits[0].seconds, strict=True)] == [2, 1]
        assert client.sandbox.spoilt == {("lightreach", "init", "limit"): 1}
