"""Following vendors' jobs: many at once over a bounded number of SSE streams, with polling beside and behind them.

A job gets a stream if one is free; while none is, it is polled, at most every two seconds (LightReach's guide: "every
couple of seconds"). A stream that breaks is opened again a few times (the server replays the latest event on connect),
then the job is polled to its end. A silent stream counts as broken: heartbeats come every 30 s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import orjson

from bulkup.clock import Clock
from bulkup.errors import StepError
from bulkup.model import Again, Failure
from bulkup.private import shown
from bulkup.providers.base import Answer, Job, Json
from bulkup.sse import OversizedEventError, ServerSentEvent, SseDecoder
from bulkup.transport import Limits, Stream

log = logging.getLogger("bulkup.track")

_FIRST_POLL = 0.1
"""Seconds to the second poll of a job that has no stream; doubled with each poll."""
_QUICK_POLLS = 10

JOB_OPEN = "job_open"
"""The code of a failure that says: the vendor's job is positively not at its end."""


@dataclass(frozen=True, slots=True)
class Following:
    """How jobs are followed.

    Attributes:
        streams: SSE streams open at once.
        reopen: how often a job's stream is opened again before polling takes over.
        silence: seconds without a byte (heartbeats included) after which a stream counts as broken.
        poll_every: seconds between two polls of one job.
        grace: seconds in which a job that the vendor does not know yet is asked for again.
        polls_per_second: of all jobs together; with more jobs each is polled less often.
    """

    streams: int = 64
    reopen: int = 3
    silence: float = 45.0
    poll_every: float = 2.0
    grace: float = 6.0
    polls_per_second: float = 100.0


class Asker(Protocol):
    """A vendor's API, as far as following jobs needs it."""

    async def glance(self, job: Job) -> Answer:
        """The latest of a job, not repeated; raises `StepError`."""

    def listen(self, path: str, limits: Limits) -> AbstractAsyncContextManager[Stream]:
        """An answer without end."""


class Probe:
    """Asks by polling, for a while; used for jobs that an earlier step left in doubt.

    Args:
        seconds: how long an open job is given to end by itself; it is asked once at least.
        patience: how long a vendor that can't be asked is tried, in seconds.
    """

    def __init__(self, seconds: float, patience: float, clock: Clock, poll_every: float) -> None:
        self._seconds = seconds
        self._patience = max(seconds, patience)
        self._clock = clock
        self._poll_every = poll_every

    async def follow(self, api: Asker, job: Job) -> Json:
        """The event that ends the job.

        Raises:
            StepError: ``job_open`` if the vendor says so after that time; or why it can't be asked.
        """
        began = self._clock.monotonic()
        while True:
            waited = self._clock.monotonic() - began
            try:
                event = (await api.glance(job)).object()
            except StepError as error:
                if error.failure.again is not Again.SAME or waited >= self._patience:
                    raise
            else:
                if job.ended(event):
                    return event
                if waited >= self._seconds:
                    raise StepError(Failure(JOB_OPEN, "the vendor's job still waits for its files", answered=True))
            await self._clock.sleep(self._poll_every)


class Tracker:
    """The hub of one vendor's job streams.

    Attributes:
        open: streams open now.
        most: the most streams that were open at once.
    """

    def __init__(self, following: Following, limits: Limits, clock: Clock) -> None:
        self._following = following
        self._limits = replace(limits, stall=following.silence)
        self._clock = clock
        self.open = 0
        self.most = 0
        self._waiting = 0

    def probe(self, seconds: float, patience: float) -> Probe:
        """The same by polling alone; see `Probe`."""
        return Probe(seconds, patience, self._clock, self._following.poll_every)

    async def follow(self, api: Asker, job: Job) -> Json:
        """The event that ends the job; the caller sets the deadline by cancelling.

        Raises:
            StepError: the vendor does not know the job, or refuses to speak of it.
        """
        began = self._clock.monotonic()
        opened = polled = 0
        while True:
            if job.stream is not None and opened <= self._following.reopen and self.open < self._following.streams:
                opened += 1
                started = self._clock.monotonic()
                event = await self._listen(api, job.stream, job.ended)
                if self._clock.monotonic() - started >= self._following.silence:
                    opened = self._following.reopen + 1  # nothing gets through this stream: poll from now on
                pause = self._clock.dice() * min(2**opened, 8) / 4
            else:
                event = await self._poll(api, job, grace=self._clock.monotonic() - began < self._following.grace)
                crowd = self._waiting / self._following.polls_per_second
                # without a stream to wait on, the first polls follow each other quickly
                soon = _FIRST_POLL * 2**polled if job.stream is None else self._following.poll_every
                polled = min(polled + 1, _QUICK_POLLS)
                pause = max(min(soon, self._following.poll_every), crowd) * (1 + self._clock.dice() / 10)
            if event is not None:
                return event
            self._waiting += 1
            try:
                await self._clock.sleep(pause)
            finally:
                self._waiting -= 1

    async def _listen(self, api: Asker, path: str, ended: Callable[[Json], bool]) -> Json | None:
        """The job's last event, or None when the stream broke before it came."""
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            async with api.listen(path, self._limits) as stream:
                decoder = SseDecoder()
                async for chunk in stream.chunks:
                    for event in _objects(decoder.feed(chunk)):
                        if ended(event):
                            return event
        except StepError as error:
            log.info("stream of a job: %s: %s", error.failure.code, shown(error.failure.text))
        except OversizedEventError as error:
            log.warning("stream of a job: %s", error)
        finally:
            self.open -= 1
        return None

    async def _poll(self, api: Asker, job: Job, *, grace: bool) -> Json | None:
        try:
            event = (await api.glance(job)).object()
        except StepError as error:
            # what may be asked again is asked again, until the caller's deadline
            if error.failure.again is Again.SAME or (error.failure.code == "not_found" and grace):
                return None
            raise
        return event if job.ended(event) else None


def _objects(events: Iterable[ServerSentEvent]) -> Iterator[Json]:
    """The JSON objects that events carry as data; anything else (heartbeats, garbage) is passed over."""
    for event in events:
        try:
            data = orjson.loads(event.data)
        except ValueError:
            continue
        if isinstance(data, dict):
            yield data
