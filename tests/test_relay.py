"""First attempts without tasks: how many at a time, what is left to the patient way, and what giving up leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bulkup.clock import Clock
from bulkup.errors import StepError
from bulkup.model import Again, Failure, Reply
from bulkup.relay import Errand, Places, Relay
from bulkup.secret import SignedUrl
from bulkup.terms import Terms
from bulkup.traffic import Traffic
from bulkup.transport import Done, Limits, Request, Response, body_of

URL = SignedUrl("http://127.0.0.1:9/key?signature=abc")
LOST = StepError(Failure("no_answer", "the connection broke", Again.SAME))


class Store:
    """Begins requests, and ends them when told.

    Attributes:
        open: what is under way, oldest first.
        most: how many there were at a time.
        begun: how many there were in all.
        given_up: how many were cancelled.
    """

    def __init__(self) -> None:
        self.open: list[Done] = []
        self.most = self.begun = self.given_up = 0

    def start(self, request: Request, limits: Limits, done: Done) -> Callable[[], object]:  # noqa: ARG002
        """See `Starter.start`."""
        self.open.append(done)
        self.begun += 1
        self.most = max(self.most, len(self.open))

        def cancel() -> None:
            self.open.remove(done)
            self.given_up += 1

        return cancel

    def end(self, outcome: Response | BaseException | None = None) -> None:
        """End the oldest."""
        self.open.pop(0)(Response(200, {}, b"") if outcome is None else outcome)


def judged(response: Response) -> Reply | Failure:
    """200 is good."""
    return Reply(response.status, response.body) if response.status == 200 else Failure("store_refused", "no")


class Bench:
    """Relays that share a store and its places."""

    def __init__(self, places: int) -> None:
        self.store = Store()
        self.places = Places(places)
        self.clock = Clock()
        self.traffic = Traffic("vendor", Terms(), self.clock)

    def relay(self, errands: int, *, judge: Any = judged, ends: float = float("inf")) -> Relay:
        """A relay with so many errands."""
        request = Request("PUT", URL.value, (), body_of(b"abc"))
        errand = Errand(request, self.traffic.server(URL), ends, judge)
        return Relay(
            [errand] * errands,
            meant=lambda _: False,
            starter=self.store,
            limits=Limits(),
            places=self.places,
            traffic=self.traffic,
            clock=self.clock,
        )

    async def finish(self, *relays: Relay) -> None:
        """Run relays side by side, ending one transfer after the other."""
        running = [asyncio.ensure_future(relay.run()) for relay in relays]
        await asyncio.sleep(0)
        while self.store.open:
            self.store.end()
        await asyncio.gather(*running)


async def test_never_more_than_there_are_places() -> None:
    """Relays that share the places get through all of their errands, and none goes out twice."""
    bench = Bench(5)
    relays = [bench.relay(12) for _ in range(4)]
    await bench.finish(*relays)
    assert (bench.store.most, bench.store.begun) == (5, 48)
    assert all(len(relay.outcomes) == 12 for relay in relays)
    await bench.finish(bench.relay(5))  # all places were given back
    assert bench.store.begun == 53


async def test_failures_are_told_apart() -> None:
    """A refusal and a lost answer are outcomes; both are known to the server's pace and breaker."""
    bench = Bench(3)
    relay = bench.relay(3)
    running = asyncio.ensure_future(relay.run())
    await asyncio.sleep(0)
    bench.store.end(Response(403, {}, b""))
    bench.store.end(LOST)
    bench.store.end()
    await running
    codes = [end.code if isinstance(end, Failure) else end.status for end in relay.outcomes.values()]
    assert codes == ["store_refused", "no_answer", 200]


async def test_what_may_not_go_out_now_is_left() -> None:
    """A URL whose life is over, and a server that asked for a pause: nothing is begun, and nobody waits."""
    bench = Bench(3)
    late = bench.relay(2, ends=0.0)
    await late.run()
    bench.traffic.server(URL).heard(0, Failure("rate_limited", "429", Again.SAME, answered=True, retry_after=30))
    paused = bench.relay(2)
    await paused.run()
    assert (late.outcomes, paused.outcomes, bench.store.begun) == ({}, {}, 0)


async def test_giving_up_ends_what_is_under_way() -> None:
    """A relay that is cancelled ends its transfers and leaves its places to others, also one that only waited."""
    bench = Bench(2)
    first, second = bench.relay(4), bench.relay(4)
    running = [asyncio.ensure_future(relay.run()) for relay in (first, second)]
    await asyncio.sleep(0)
    for task in reversed(running):
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert (bench.store.given_up, bench.store.open) == (2, [])
    await bench.finish(bench.relay(6))
    assert bench.store.begun == 8


async def test_a_defect_is_not_swallowed() -> None:
    """What goes wrong in the judging is raised where the relay is awaited, and nothing stays under way."""
    bench = Bench(2)

    def judge(_: Response) -> Reply:
        raise ZeroDivisionError

    running = asyncio.ensure_future(bench.relay(4, judge=judge).run())
    await asyncio.sleep(0)
    bench.store.end()
    with pytest.raises(ZeroDivisionError):
        await running
    assert bench.store.open == []
    await bench.finish(bench.relay(2))


async def test_a_wait_for_a_place_that_is_given_up() -> None:
    """Who was cancelled, before or just after a place was found for it, keeps nobody out."""
    for found in (False, True):
        places = Places(1)
        await places.taken()
        waiting = asyncio.ensure_future(places.taken())
        await asyncio.sleep(0)
        if found:
            places.leave()
            waiting.cancel()
        else:
            waiting.cancel()
            await asyncio.sleep(0)
            places.leave()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert places.take()
