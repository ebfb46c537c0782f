"""What one vendor's servers may be asked, and how fast: everything that talks to them takes its turn here.

For each server (scheme, host and port) there is one `Server` that all workers of the vendor share: a Retry-After that
one of them was given holds for all, requests follow each other no faster than the server takes them, and a server that
is down is asked by one request at a time until it answers. How fast and whether it is down is decided by `Rate` and
`Breaker`, which are pure. How many uploads are in flight is decided by `Window`, and held to by `Slots`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeVar

import anyio

from bulkup.breaker import Breaker
from bulkup.clock import Clock
from bulkup.decide import VENDOR_DOWN, ambiguous, slow_down
from bulkup.errors import StepError
from bulkup.events import Notice
from bulkup.model import Again, Failure
from bulkup.rate import Rate
from bulkup.secret import SignedUrl
from bulkup.terms import Terms
from bulkup.window import Window

T = TypeVar("T")

_CATCH_UP = 0.02
"""Seconds that the pace of requests may lag behind."""
_LOOK_AGAIN = 1.0


class Server:
    """One server of a vendor.

    Args:
        name: what users are told it is called.
        clock: time.
        patience: the longest wait, in seconds, for a server that is down or asked for a pause.
        rate: requests a second that the user allows; None: as many as the server takes.
        tell: is told that the server is down, and that it is back.
    """

    def __init__(
        self, name: str, clock: Clock, patience: float, rate: float | None, tell: Callable[[Notice], None]
    ) -> None:
        self._name = name
        self._clock = clock
        self._patience = patience
        self._tell = tell
        self._rate = Rate(rate)
        self._breaker = Breaker()
        self._asked_until = 0.0
        self._not_before = 0.0
        self._last = -inf
        self._clear = rate is None  # nothing is in the way of the next request: no known rate, no pause, no trouble
        self._first: deque[_Waiting] = deque()
        self._others: deque[_Waiting] = deque()

    async def turn(self, *, first: bool = False) -> None:
        """Wait until the next request may go out.

        Args:
            first: before all that are not: the URL that it goes to may live for a few seconds only.

        Raises:
            StepError: ``rate_limited`` or ``vendor_down``, if that is too long.
        """
        if self._head() is not None or self._wait() > 0:
            await self._queue_up(self._first if first else self._others)
        self._take()

    def turn_at_once(self, now: float) -> bool:
        """Whether the next request may go out now; then it has had its `turn`."""
        if self._clear:
            if now - self._last >= _CATCH_UP:  # as `_take` does without an interval
                self._last = now
            return True
        if self._first or self._others:
            return False
        try:
            if self._wait() > 0:
                return False
        except StepError:
            return False
        self._take()
        return True

    def _take(self) -> None:
        now = self._clock.monotonic()
        due = self._last + self._rate.interval()
        self._last = due if 0 <= now - due < _CATCH_UP else now  # who was woken late does not slow down the others
        self._breaker.probing(now)

    @property
    def pause(self) -> float:
        """Seconds for which the server asked to be left alone."""
        return max(0.0, self._asked_until - self._clock.monotonic())

    def heard(self, began: float, failure: Failure | None, *, meant: bool = False) -> None:
        """How a request ended that was sent at ``began``.

        Args:
            failure: why it did not succeed; None: it did.
            meant: the failure is an answer that means something else than trouble.
        """
        now = self._clock.monotonic()
        if failure is not None:
            self._failed(now, began, failure, meant=meant)
            return
        self._rate.accepted(now, began)
        if not self._clear:
            self._answered()
            until = max(self._asked_until, self._not_before)
            self._clear = until <= now and self._rate.interval() == 0 and self._head() is None

    def _failed(self, now: float, began: float, failure: Failure, *, meant: bool) -> None:
        self._clear = False
        if failure.retry_after is not None:
            self._asked_until = max(self._asked_until, now + failure.retry_after)
        if slow_down(failure):
            self._not_before = max(self._not_before, now + self._rate.refused(now, began, failure.retry_after))
        elif failure.answered:
            self._rate.accepted(now, began)
        if not meant and _down(failure):
            if self._breaker.failed(now):
                text = f"{self._name} seems to be down, waiting for it"
                self._tell(Notice(f"{text}: {failure.text}", f"{text}: {failure.code}"))
        elif failure.answered:
            self._answered()

    def _answered(self) -> None:
        if self._breaker.succeeded():
            self._tell(Notice(f"{self._name} answers again"))

    async def _queue_up(self, queue: deque[_Waiting]) -> None:
        mine = _Waiting()
        queue.append(mine)
        try:
            while True:
                if self._head() is not mine:
                    await mine.bell.wait()
                    mine.bell = anyio.Event()
                elif (wait := self._wait()) > 0:
                    await self._clock.sleep(min(wait, _LOOK_AGAIN))  # the server may be back before the next probe
                else:
                    return
        finally:
            queue.remove(mine)
            if (head := self._head()) is not None:
                head.bell.set()

    def _head(self) -> _Waiting | None:
        queue = self._first or self._others
        return queue[0] if queue else None

    def _wait(self) -> float:
        """Seconds until the next request may go out."""
        now = self._clock.monotonic()
        asked, down = self._asked_until - now, self._breaker.wait(now)
        if asked > self._patience:
            text = f"the server asked to wait {asked:.0f} s more, which is longer than --retry-for"
            raise StepError(Failure("rate_limited", text, sent=False, retry_after=asked))
        opened = self._breaker.opened_at
        if opened is not None and now - opened > self._patience and down > 0:
            text = f"{self._name} has been down for {now - opened:.0f} s"
            raise StepError(Failure(VENDOR_DOWN, text, Again.SAME, sent=False))
        return max(asked, down, self._not_before - now, self._last + self._rate.interval() - now)


class _Waiting:
    """One in a queue; the bell tells it to look whether it is the first."""

    def __init__(self) -> None:
        self.bell = anyio.Event()


class Traffic:
    """The servers of one vendor, and the uploads in flight to it.

    Args:
        name: the vendor's.
        terms: what the user set.
        clock: time.
        tell: is told what users should know.

    Attributes:
        slots: places for uploads in flight.
    """

    def __init__(self, name: str, terms: Terms, clock: Clock, tell: Callable[[Notice], None] = lambda _: None) -> None:
        window = Window(terms.concurrency) if terms.adaptive else Window(terms.concurrency, floor=terms.concurrency)
        self.slots = Slots(window, clock)
        self._name = name
        self._terms = terms
        self._clock = clock
        self._tell = tell
        self._servers: dict[str, Server] = {}

    async def carry(
        self,
        url: SignedUrl,
        attempt: Callable[[], Awaitable[T]],
        *,
        first: bool = False,
        init: bool = False,
        meant: Callable[[Failure], bool] = lambda _: False,
    ) -> T:
        """Make one attempt at a request in its turn, and let all others profit from how it ended.

        Args:
            url: where it goes.
            attempt: sends it; raises `StepError`.
            first: see `Server.turn`.
            init: its latency tells how many uploads the vendor can take.
            meant: whether a failure is an answer that means something else than trouble.

        Raises:
            StepError: that of the attempt, or of `Server.turn`.
        """
        server = self.server(url)
        if init:
            await self._clear()
        await server.turn(first=first)
        began, in_flight = self._clock.monotonic(), self.slots.taken
        try:
            result = await attempt()
        except StepError as error:
            server.heard(began, error.failure, meant=meant(error.failure))
            self.slots.heard(began, in_flight, error.failure)
            raise
        server.heard(began, None)
        if init:
            self.slots.heard(began, in_flight, None)
        return result

    async def _clear(self) -> None:
        """Wait until no server asks for a pause: a URL that is made now would age until its own takes the bytes."""
        while 0 < (pause := max((each.pause for each in self._servers.values()), default=0.0)) <= self._patience:
            await self._clock.sleep(pause)

    @property
    def _patience(self) -> float:
        return self._terms.backoff.patience

    def server(self, url: SignedUrl) -> Server:
        """The one that a URL leads to."""
        origin = url.origin
        if origin not in self._servers:
            name = f"{self._name} ({origin})"
            self._servers[origin] = Server(name, self._clock, self._patience, self._terms.rate, self._tell)
        return self._servers[origin]


class Slots:
    """Places for uploads in flight, as many as a `Window` allows at the time.

    Attributes:
        taken: uploads in flight now.
    """

    def __init__(self, window: Window, clock: Clock) -> None:
        self.taken = 0
        self._window = window
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a place, and have an upload in flight until `leave`."""
        while self.taken >= self._window.limit:
            bell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(bell)
            try:
                await bell
            except asyncio.CancelledError:
                if bell in self._waiting:
                    self._waiting.remove(bell)
                else:
                    self._wake()  # whoever gives up passes on what it was told
                raise
        self.taken += 1

    def leave(self) -> None:
        """The upload is no longer in flight."""
        self.taken -= 1
        self._wake()

    def heard(self, began: float, in_flight: int, failure: Failure | None) -> None:
        """How an init ended that was sent at ``began``, while so many uploads were in flight."""
        now = self._clock.monotonic()
        if failure is None:
            self._window.succeeded(now, now - began, in_flight)
            self._wake()
        elif ambiguous(failure):  # too many requests are a matter of `Rate`
            self._window.troubled(now, began)

    def _wake(self) -> None:
        """Tell as many as there are places now."""
        for _ in range(min(self._window.limit - self.taken, len(self._waiting))):
            bell = self._waiting.popleft()
            if not bell.done():
                bell.set_result(None)


def _down(failure: Failure) -> bool:
    """Whether a failure says that the server is not there, or can't do anything."""
    if slow_down(failure):
        return False
    return ambiguous(failure) or (not failure.sent and failure.again is Again.SAME)
