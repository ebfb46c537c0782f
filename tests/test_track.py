"""Following jobs, against a vendor that is a few lines, in a time that no test waits for."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count, pairwise
from typing import Any

import anyio
import orjson
import pytest

from bulkup.clock import Clock
from bulkup.errors import StepError
from bulkup.model import Again, Failure
from bulkup.providers.base import Answer, Job, Json
from bulkup.providers.lightreach import _ended
from bulkup.track import Following, Tracker
from bulkup.transport import Limits, Response, Stream

COMPLETE = {"type": "complete", "documents": []}
VARIANTS = {"type": "imageVariantsReady", "documents": []}
WAITING = {"type": "awaitingUpload"}
NOT_FOUND = Failure("not_found", "HTTP 404", answered=True, status=404)
LOST = Failure("no_answer", "the connection broke", Again.SAME)


class Time:
    """Time that passes only when everybody waits for it."""

    def __init__(self, dice: float = 0.5) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._number = count()
        self.clock = Clock(lambda: self.now, lambda: self.now, self.sleep, lambda: dice)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this time."""
        event = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), event))
        await event.wait()

    async def run(self, *work: Any) -> list[Any]:
        """Pass the time until all of the work is done; its results, or exceptions."""
        tasks = [asyncio.ensure_future(each) for each in work]
        while not all(task.done() for task in tasks):
            for _ in range(10):
                await asyncio.sleep(0)
            if self._sleepers and not all(task.done() for task in tasks):
                self.now, _, event = heapq.heappop(self._sleepers)
                event.set()
            assert self.now < 100_000, "this takes for ever"
        return await asyncio.gather(*tasks, return_exceptions=True)


def sse(*events: Mapping[str, object]) -> bytes:
    """Events as a server sends them."""
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


class Vendor:
    """Stands in for `bulkup.api.Api`.

    Args:
        stream: what a job's stream carries at its n-th opening (from 1): chunks, seconds to wait, or a failure.
        poll: what polling answers, by the time.
    """

    def __init__(
        self,
        time: Time,
        stream: Callable[[str, int], list[bytes | float | Failure]] = lambda _path, _opening: [LOST],
        poll: Callable[[str, float], object] = lambda _path, _now: COMPLETE,
    ) -> None:
        self._time = time
        self._stream = stream
        self._poll = poll
        self.opened: Counter[str] = Counter()
        self.polled: dict[str, list[float]] = {}
        self.open = self.most = 0
        self.stalls: set[float] = set()

    @asynccontextmanager
    async def listen(self, path: str, limits: Limits) -> AsyncIterator[Stream]:
        """As `Api.listen`."""
        self.stalls.add(limits.stall)
        self.opened[path] += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0)
            script = self._stream(path, self.opened[path])
            if script and isinstance(script[0], Failure):
                raise StepError(script[0])
            yield Stream(Response(200, {}, b""), self._chunks(script))
        finally:
            self.open -= 1

    async def _chunks(self, script: list[bytes | float | Failure]) -> AsyncIterator[bytes]:
        for step in script:
            if isinstance(step, Failure):
                raise StepError(step)
            if isinstance(step, float):
                await self._time.sleep(step)
            else:
                yield step

    async def glance(self, job: Job) -> Answer:
        """As `Api.glance`."""
        path = job.poll
        self.polled.setdefault(path, []).append(self._time.now)
        await asyncio.sleep(0)
        said = self._poll(path, self._time.now)
        if isinstance(said, Failure):
            raise StepError(said)
        return Answer(200, {}, said if isinstance(said, bytes) else orjson.dumps(said))


def job(number: int = 0) -> Job:
    """A job."""
    return Job(f"/stream/{number}", f"/job/{number}", _ended)


async def follow(
    time: Time, vendor: Vendor, jobs: int = 1, following: Following | None = None
) -> tuple[list[Any], Tracker]:
    """Follow so many jobs at once: their last events or exceptions."""
    tracker = Tracker(following or Following(), Limits(), time.clock)
    api: Any = vendor
    results = await time.run(*(tracker.follow(api, job(number)) for number in range(jobs)))
    assert tracker.open == vendor.open == 0
    return results, tracker


@pytest.mark.parametrize(
    ("events", "last"),
    [
        ([WAITING, COMPLETE], COMPLETE),
        ([COMPLETE, VARIANTS], COMPLETE),
        ([VARIANTS, COMPLETE], VARIANTS),
        ([VARIANTS], VARIANTS),
        ([WAITING, {"type": "failed", "error": "no"}], {"type": "failed", "error": "no"}),
    ],
)
async def test_the_first_last_word_counts(events: list[Json], last: Json) -> None:
    """``complete`` and ``imageVariantsReady`` in either order, or ``failed``: the stream is left at the first."""
    time = Time()
    vendor = Vendor(time, lambda _path, _opening: [sse(*events), 1e6])
    assert (await follow(time, vendor))[0] == [last]
    assert (vendor.opened.total(), vendor.polled) == (1, {})


@pytest.mark.parametrize("last", [COMPLETE, VARIANTS])
async def test_polling_sees_the_latest_event_only(last: Json) -> None:
    """A poller may meet either of the two."""
    time = Time()
    vendor = Vendor(time, poll=lambda _path, now: WAITING if now < 10 else last)
    assert (await follow(time, vendor))[0] == [last]


async def test_garbage_is_passed_over() -> None:
    """Heartbeats in any form, text, lists, numbers, unknown and senseless types don't end or break a stream."""
    time = Time()
    garbage = (
        b": heartbeat\n\nevent: heartbeat\ndata: {}\n\ndata\n\ndata: ping\n\ndata: [1]\n\ndata: 7\n\ndata: null\n\n"
        b'data: {"type": "heartbeat"}\n\ndata: {"type": ["complete"]}\n\ndata: {"type": {}}\n\ndata: {"type": null}\n\n'
        b"data: \xff{\n\n\x00\n\n"
    )
    vendor = Vendor(time, lambda _path, _opening: [garbage, 30.0, garbage, sse(COMPLETE)])
    assert (await follow(time, vendor))[0] == [COMPLETE]
    assert (vendor.opened.total(), vendor.polled) == (1, {})


async def test_garbage_in_polling_is_passed_over() -> None:
    """An answer that can't be read, or says nothing known, is asked for again."""
    time = Time()
    said = iter([b"<html>", [1], {"type": ["complete"]}, {}, WAITING, COMPLETE])
    vendor = Vendor(time, poll=lambda _path, _now: next(said))
    assert (await follow(time, vendor))[0] == [COMPLETE]


@pytest.mark.parametrize("reopen", [0, 1, 3])
@pytest.mark.parametrize("ending", [[], [sse(WAITING)], [sse(WAITING), LOST], [LOST]])
async def test_dropped_stream_is_reopened_then_polled(reopen: int, ending: list[bytes | float | Failure]) -> None:
    """A stream that ends early or breaks is opened again so many times; then polling goes on to the end."""
    time = Time()
    vendor = Vendor(time, lambda _path, _opening: ending, lambda _path, now: COMPLETE if now > 30 else WAITING)
    assert (await follow(time, vendor, following=Following(reopen=reopen)))[0] == [COMPLETE]
    assert vendor.opened.total() == 1 + reopen
    assert len(vendor.polled["/job/0"]) > 5


async def test_reopened_stream_replays_the_end() -> None:
    """What a stream missed is replayed when it is opened again: no polling."""
    time = Time()
    vendor = Vendor(time, lambda _path, opening: [LOST] if opening < 3 else [sse(COMPLETE)])
    assert (await follow(time, vendor))[0] == [COMPLETE]
    assert (vendor.opened.total(), vendor.polled) == (3, {})


async def test_event_without_end() -> None:
    """A stream whose event never ends counts as broken."""
    time = Time()
    megabyte: list[bytes | float | Failure] = [b"data: " + b"x" * (1 << 20)]
    vendor = Vendor(time, lambda _path, opening: megabyte * 70 if opening == 1 else [sse(COMPLETE)])
    assert (await follow(time, vendor))[0] == [COMPLETE]


async def test_silence_is_the_stall_limit_of_a_stream() -> None:
    """Heartbeats come every 30 s; the stream's own limit is clearly above."""
    time = Time()
    vendor = Vendor(time, lambda _path, _opening: [sse(COMPLETE)])
    await follow(time, vendor)
    assert vendor.stalls == {Following().silence}
    assert Following().silence > 30


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999])
async def test_streams_are_bounded_and_polls_are_rare(dice: float) -> None:
    """Never more streams than allowed; the jobs beyond are polled at most once per 2 s, and get a stream later."""
    time = Time(dice)
    vendor = Vendor(
        time,
        lambda _path, _opening: [sse(WAITING), 20.0, sse(COMPLETE)],
        lambda _path, now: COMPLETE if now > 90 else WAITING,
    )
    results, tracker = await follow(time, vendor, jobs=30, following=Following(streams=4))
    assert results == [COMPLETE] * 30
    assert vendor.most == tracker.most == 4
    assert len(vendor.polled) == 26
    for polls in vendor.polled.values():
        assert all(after - before >= 2 for before, after in pairwise(polls))
    assert vendor.opened.total() > 4


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999])
async def test_unknown_job_is_asked_for_again_at_first(dice: float) -> None:
    """A 404 right after the init may pass."""
    time = Time(dice)
    vendor = Vendor(time, lambda _path, _opening: [NOT_FOUND], lambda _path, now: NOT_FOUND if now < 5.5 else COMPLETE)
    assert (await follow(time, vendor))[0] == [COMPLETE]
    assert min(vendor.polled["/job/0"]) < 6


async def test_unknown_job_is_raised_later() -> None:
    """A 404 after the grace time is the vendor's word."""
    time = Time()
    vendor = Vendor(time, lambda _path, _opening: [NOT_FOUND], lambda _path, _now: NOT_FOUND)
    (error,), _ = await follow(time, vendor)
    assert isinstance(error, StepError)
    assert error.failure is NOT_FOUND
    assert 6 <= time.now < 15


async def test_job_that_vanishes_is_raised() -> None:
    """A job that was known once has no grace left when it is gone."""
    time = Time()
    vendor = Vendor(time, poll=lambda _path, now: WAITING if now < 20 else NOT_FOUND)
    (error,), _ = await follow(time, vendor)
    assert isinstance(error, StepError)
    assert error.failure is NOT_FOUND


@pytest.mark.parametrize("code", ["unauthorized", "forbidden", "no_answer"])
async def test_other_refusals_are_raised(code: str) -> None:
    """What the vendor refuses when it is polled is not asked for ever; the core has retried it before."""
    refusal = Failure(code, "", answered=True)
    time = Time()
    vendor = Vendor(time, lambda _path, _opening: [refusal], lambda _path, _now: refusal)
    (error,), _ = await follow(time, vendor)
    assert isinstance(error, StepError)
    assert error.failure is refusal


@pytest.mark.parametrize("broken", [False, True])
async def test_a_thousand_jobs_at_once(*, broken: bool) -> None:
    """All of them end, each with its own event, whether streams work or not."""
    time = Time()

    def stream(path: str, opening: int) -> list[bytes | float | Failure]:
        if broken or (hash(path) + opening) % 3 == 0:
            return [sse(WAITING), LOST]
        return [sse(WAITING), 1.0, sse(COMPLETE | {"path": path.rpartition("/")[2]})]

    def poll(path: str, now: float) -> object:
        number = path.rpartition("/")[2]
        return COMPLETE | {"path": number} if now > int(number) % 10 else WAITING

    results, tracker = await follow(time, Vendor(time, stream, poll), jobs=1000)
    assert [result["path"] for result in results] == [str(number) for number in range(1000)]
    assert tracker.most <= 64


async def test_cancelled_follower_gives_its_stream_back() -> None:
    """The caller's deadline ends a follower anywhere, and its stream is free again."""
    time = Time()
    vendor = Vendor(time, lambda _path, _opening: [sse(WAITING), 1e6])
    tracker = Tracker(Following(streams=1), Limits(), time.clock)
    api: Any = vendor
    with anyio.move_on_after(0.02) as scope:
        await tracker.follow(api, job())
    assert scope.cancelled_caught
    assert tracker.open == vendor.open == 0


async def test_a_probe_says_open_only_on_the_vendors_word() -> None:
    """An open job is polled every two seconds until the time is over; then, and only then, it counts as open."""
    time = Time()
    vendor = Vendor(time, poll=lambda _path, _now: WAITING)
    probe = Tracker(Following(), Limits(), time.clock).probe(10, 60)
    api: Any = vendor
    (result,) = await time.run(probe.follow(api, job()))
    assert isinstance(result, StepError)
    assert result.failure.code == "job_open"
    assert [round(at - vendor.polled["/job/0"][0]) for at in vendor.polled["/job/0"]] == [0, 2, 4, 6, 8, 10]


async def test_a_probe_that_gets_no_word_says_why() -> None:
    """A vendor that can't be asked is tried for the patience; its failure is passed on, never `job_open`."""
    time = Time()
    refused = Failure("server_error", "HTTP 503", Again.SAME, answered=True, status=503)
    vendor = Vendor(time, poll=lambda _path, _now: refused)
    probe = Tracker(Following(), Limits(), time.clock).probe(0, 20)
    api: Any = vendor
    (result,) = await time.run(probe.follow(api, job()))
    assert isinstance(result, StepError)
    assert result.failure.code == "server_error"
    assert len(vendor.polled["/job/0"]) == 11
