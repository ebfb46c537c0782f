"""A vendor's traffic as a whole, in virtual time, against the sandbox's limits; ``make bench-pace``: in real time."""

from __future__ import annotations

import random

import pytest

from bulkup.errors import StepError
from bulkup.model import Again, Failure
from bulkup.sandbox.limits import Limit
from bulkup.secret import SignedUrl
from bulkup.terms import Terms
from bulkup.traffic import Traffic
from tests.test_track import Time

pytestmark = pytest.mark.slow

SECONDS = 20
PER_SECOND = 200
URL = SignedUrl("https://vendor.example/")
LIMITS = {
    "bucket of 10": Limit("bucket", PER_SECOND, 10),
    "bucket of 20": Limit("bucket", PER_SECOND, 20),
    "bucket of 200": Limit("bucket", PER_SECOND, 200),
    "fixed window": Limit("fixed", PER_SECOND),
    "sliding window": Limit("sliding", PER_SECOND),
}


class Vendor:
    """Answers after a while, and 429 beyond a limit.

    Attributes:
        uploads: how many had both of their requests answered well.
    """

    def __init__(self, latency: float, limit: Limit | None = None, retry_after: float | None = None) -> None:
        self.time = Time()
        self.uploads = 0
        self._latency = latency
        self._limit = limit
        self._busy = Failure("rate_limited", "429", Again.SAME, answered=True, retry_after=retry_after, status=429)
        self._dice = random.Random(1)

    async def request(self) -> None:
        """One request: on its way, answered, and on its way back."""
        await self._line()
        taken = self._limit is None or self._limit.takes(1e6 + self.time.now)
        await self._line()
        if not taken:
            raise StepError(self._busy)

    async def _line(self) -> None:
        await self.time.sleep(self._latency / 2 * (1 + 0.1 * self._dice.random()))

    async def run(self, terms: Terms) -> None:
        """Workers that upload, an init and a transfer each, for so many seconds."""
        traffic = Traffic("vendor", terms, self.time.clock)

        async def insist(*, init: bool) -> None:
            while self.time.now < SECONDS:
                try:
                    await traffic.carry(URL, self.request, init=init, first=not init)
                except StepError:
                    continue
                return

        async def worker() -> None:
            while self.time.now < SECONDS:
                await traffic.slots.take()
                await insist(init=True)
                await insist(init=False)
                self.uploads += 1
                traffic.slots.leave()

        for result in await self.time.run(*(worker() for _ in range(terms.concurrency))):
            assert result is None


@pytest.mark.parametrize("retry_after", [None, 0.0], ids=["no Retry-After", "Retry-After: 0"])
@pytest.mark.parametrize("latency", [0.004, 0.05])
@pytest.mark.parametrize("limit", LIMITS)
async def test_an_unknown_limit_is_used(limit: str, latency: float, retry_after: float | None) -> None:
    """200 requests a second, 429 otherwise, no --rate: at least 95 % of them are used, under 2 % of answers are 429."""
    rule = LIMITS[limit]
    rule = Limit(rule.window, rule.per_second, rule.burst)
    await Vendor(latency, rule, retry_after).run(Terms())
    taken, refused = (sum(each) for each in zip(*rule.seconds[:SECONDS], strict=True))
    assert taken >= 0.95 * PER_SECOND * SECONDS
    assert refused < 0.02 * (taken + refused)


async def test_adaptive_comes_near_the_best_fixed_concurrency() -> None:
    """With 50 ms and no limit: at least 90 % of the uploads that the best of several fixed numbers carries."""
    fixed: dict[int, int] = {}
    for concurrency in (8, 16, 32, 64):
        vendor = Vendor(0.05)
        await vendor.run(Terms(concurrency=concurrency, adaptive=False))
        fixed[concurrency] = vendor.uploads
    vendor = Vendor(0.05)
    await vendor.run(Terms(concurrency=64))
    assert vendor.uploads >= 0.9 * max(fixed.values())
    assert max(fixed.values()) == fixed[64]
