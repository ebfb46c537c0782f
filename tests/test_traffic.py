"""One server shared by many workers: turns, pauses and circuit breaker, in time that passes only when all wait."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.errors import StepError
from bulkup.events import Notice
from bulkup.model import Again, Failure
from bulkup.schedule import Backoff
from bulkup.secret import SignedUrl
from bulkup.terms import Terms
from bulkup.traffic import Server, Traffic
from tests.test_track import Time

LOST = Failure("no_answer", "the connection broke", Again.SAME)
BUSY = Failure("server_error", "HTTP 503", Again.SAME, answered=True, status=503)


OURS = Failure("url_expired", "its life was over", Again.FRESH)
STEPS = st.sampled_from([0.0, 0.001, 0.01, 0.019, 0.03, 0.3, 1.0, 4.0, 20.0])


def limited(retry_after: float | None) -> Failure:
    """A 429."""
    return Failure("rate_limited", "HTTP 429", Again.SAME, answered=True, retry_after=retry_after, status=429)


def server(time: Time, *, rate: float | None = None, told: list[Notice] | None = None) -> Server:
    """A server that is waited for a minute."""
    return Server("vendor", time.clock, 60, rate, (told if told is not None else []).append)


async def test_requests_keep_the_users_rate() -> None:
    """Ten a second, whoever sends them."""
    time, at = Time(), list[float]()
    shared = server(time, rate=10)

    async def worker() -> None:
        for _ in range(5):
            await shared.turn()
            at.append(time.now)

    await time.run(*(worker() for _ in range(4)))
    assert at == pytest.approx([number / 10 for number in range(20)])


async def test_a_retry_after_holds_for_everybody() -> None:
    """Nobody is let through before the time that one of them was told."""
    time, at = Time(), list[float]()
    shared = server(time)
    shared.heard(0, limited(7))

    async def worker() -> None:
        await shared.turn()
        at.append(time.now)

    await time.run(*(worker() for _ in range(5)))
    assert min(at) >= 7


async def test_short_lived_urls_go_first() -> None:
    """A transfer passes all that wait for an init's turn."""
    time, order = Time(), list[str]()
    shared = server(time, rate=1)

    async def one(name: str, *, first: bool) -> None:
        await shared.turn(first=first)
        order.append(name)

    inits = [one(f"init {number}", first=False) for number in range(4)]
    await time.run(*inits, one("put a", first=True), one("put b", first=True))
    assert order == ["init 0", "put a", "put b", "init 1", "init 2", "init 3"]


async def test_who_gives_up_waiting_holds_nobody_back() -> None:
    """A cancelled worker leaves the queue, also from its head."""
    time = Time()
    shared = server(time, rate=1)
    await shared.turn()
    head, second = asyncio.ensure_future(shared.turn()), asyncio.ensure_future(shared.turn())
    await asyncio.sleep(0)
    head.cancel()
    await time.run(second)
    assert second.done()
    assert not shared._others  # nothing is left of either


async def test_too_long_a_pause_is_not_waited_for() -> None:
    """A server that asks for more than --retry-for is told to the caller at once."""
    time = Time()
    shared = server(time)
    shared.heard(0, limited(600))
    (error,) = await time.run(shared.turn())
    assert isinstance(error, StepError)
    assert (error.failure.code, error.failure.sent, time.now) == ("rate_limited", False, 0)


async def test_a_server_that_is_down_is_asked_by_one_at_a_time() -> None:
    """After eight failures in a row probes go out at growing intervals; the first answer lets all go on."""
    time, told, asked = Time(), list[Notice](), list[float]()
    shared = server(time, told=told)

    async def worker() -> None:
        while True:
            await shared.turn()
            asked.append(time.now)
            await time.clock.sleep(0.01)
            if time.now < 20:
                shared.heard(time.now, BUSY)
            else:
                shared.heard(time.now, None)
                return

    await time.run(*(worker() for _ in range(16)))
    assert len([at for at in asked if 0.1 < at < 20]) == 5  # 0.5 s after the last failure, then 1, 2, 4, 8
    assert [notice.text for notice in told] == [
        "vendor seems to be down, waiting for it: HTTP 503",
        "vendor answers again",
    ]


async def test_a_server_that_stays_down_is_given_up() -> None:
    """Longer than --retry-for nobody waits for it: the rows stay where they are."""
    time = Time()
    shared = server(time)

    async def worker() -> None:
        while True:
            await shared.turn()
            shared.heard(time.now, LOST)
            await time.clock.sleep(0.1)

    errors = await time.run(*(worker() for _ in range(4)))
    assert {error.failure.code for error in errors} == {"vendor_down"}
    assert time.now < 80


async def test_what_fails_on_our_side_says_nothing_of_the_server() -> None:
    """An expired URL or a changed file neither opens nor closes the breaker."""
    time, told = Time(), list[Notice]()
    shared = server(time, told=told)
    for _ in range(7):
        shared.heard(0, LOST)
        shared.heard(0, OURS)
    assert not told
    shared.heard(0, LOST)
    assert len(told) == 1


async def test_a_vendors_servers_are_apart() -> None:
    """A store that asks for a pause does not hold back the API; two URLs of one host share a turn."""
    time = Time()
    traffic = Traffic("vendor", Terms(backoff=Backoff(patience=60)), time.clock)

    async def refused() -> None:
        raise StepError(limited(5))

    async def fine() -> float:
        return time.now

    async def work() -> tuple[float, float]:
        with pytest.raises(StepError):
            await traffic.carry(SignedUrl("https://store.example/a?sig=1"), refused)
        api = await traffic.carry(SignedUrl("https://api.example/v1"), fine)
        return api, await traffic.carry(SignedUrl("https://store.example/b?sig=2"), fine)

    ((api, store),) = await time.run(work())
    assert (api, store >= 5) == (0, True)


async def test_no_url_is_made_while_its_store_wants_a_pause() -> None:
    """An init waits for every server of its vendor: what it would answer lives for seconds only."""
    time = Time()
    traffic = Traffic("vendor", Terms(backoff=Backoff(patience=60)), time.clock)

    async def refused() -> None:
        raise StepError(limited(7))

    async def fine() -> float:
        return time.now

    async def work() -> tuple[float, float]:
        with pytest.raises(StepError):
            await traffic.carry(SignedUrl("https://store.example/a?sig=1"), refused)
        asking = await traffic.carry(SignedUrl("https://api.example/v1"), fine)
        return asking, await traffic.carry(SignedUrl("https://api.example/v1"), fine, init=True)

    ((asking, init),) = await time.run(work())
    assert (asking, init >= 7) == (0, True)


async def test_a_window_that_grows_lets_more_in() -> None:
    """Who waits for a place need not wait for another upload's end when there are more places."""
    time = Time()
    slots = Traffic("vendor", Terms(concurrency=16), time.clock).slots
    begun = list[float]()

    async def upload() -> None:
        await slots.take()
        begun.append(time.now)
        await time.clock.sleep(0.1)
        slots.heard(time.now - 0.1, slots.taken, None)
        await time.clock.sleep(600)

    await time.run(*(upload() for _ in range(16)))
    assert max(begun) < 5


async def test_all_go_on_soon_after_a_server_is_back() -> None:
    """Nobody sleeps through the good news until the next probe would have been due."""
    time = Time()
    shared = server(time)
    asked = list[float]()

    async def worker() -> None:
        while True:
            await shared.turn()
            began = time.now
            await time.clock.sleep(0.01)
            shared.heard(began, BUSY if time.now < 20 else None)
            if time.now >= 20:
                asked.append(time.now)
                return

    await time.run(*(worker() for _ in range(16)))
    assert max(asked) - min(asked) < 2


async def test_no_patience_is_no_reason_to_stop_for_a_429() -> None:
    """With --retry-for 0 a 429 that asks for no pause holds nobody back for good."""
    time = Time()
    shared = Server("vendor", time.clock, 0, None, list[Notice]().append)
    shared.heard(0, limited(None))
    (result,) = await time.run(shared.turn())
    assert result is None


@given(st.lists(st.one_of(st.just(OURS), st.sampled_from([LOST, BUSY, limited(None), limited(3)]), st.none(), STEPS)))
@example([LOST] * 8 + [1.0, None, 0.0])
@example([None, 0.01, limited(None), 0.01])
def test_the_short_way_is_the_same(script: list[Failure | float | None]) -> None:
    """A server in no trouble answers without going through pace and breaker; it says what they would have said."""
    answers: list[list[object]] = []
    for short in (True, False):
        time = Time()
        told: list[Notice] = []
        shared, said = server(time, told=told), list[object]()
        for step in script:
            if isinstance(step, float):
                time.now += step
            else:
                shared.heard(time.now - 0.01, step)
            shared._clear &= short
            said += [shared.turn_at_once(time.now) for _ in range(2)]
        answers.append([*said, shared.pause, *told])
    assert answers[0] == answers[1]
