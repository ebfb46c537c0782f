"""First attempts at transfers, side by side, without a task for each.

A task, and the coroutines that it goes through, cost as much as sending a small file. So whatever goes to a store by a
signed URL, and may go out at once, is begun by a call, and its end is told by another. What does not succeed so is
left to the patient way, which waits and tries again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from bulkup.clock import Clock
from bulkup.errors import StepError
from bulkup.model import Failure, Reply
from bulkup.traffic import Server, Traffic
from bulkup.transport import Limits, Request, Response, Starter


class Places:
    """Places for transfers in flight.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self) -> bool:
        """Take one, if there is one and nobody waits for it."""
        if self._free and not self._waiting:
            self._free -= 1
            return True
        return False

    def wait(self, bell: Callable[[], None]) -> None:
        """Have a call when a place is free, which is taken for it."""
        self._waiting.append(bell)

    def forget(self, bell: Callable[[], None]) -> None:
        """Whoever waited needs none any more."""
        if bell in self._waiting:
            self._waiting.remove(bell)

    async def taken(self) -> None:
        """Wait for one, and take it."""
        if self.take():
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def bell() -> None:
            if mine.cancelled():
                self.leave()
            else:
                mine.set_result(None)

        self.wait(bell)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self.forget(bell)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """Give one back."""
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1


class Errand(NamedTuple):
    """One transfer.

    Attributes:
        request: what is sent.
        server: where it goes.
        ends: when its URL's life is over, by the monotonic clock.
        judge: says what the answer means.
    """

    request: Request
    server: Server
    ends: float
    judge: Callable[[Response], Reply | Failure]


@dataclass(slots=True)
class _Flight:
    errand: Errand
    began: float
    in_flight: int
    cancel: Callable[[], object] = lambda: None


class Relay:
    """Carries out errands; none of them twice.

    Args:
        errands: of one batch.
        meant: whether a failure is an answer that means something else than trouble.
        starter: begins requests.
        limits: their deadlines.
        places: shared by all relays of a vendor.
        traffic: is told how each ended.
        clock: time.

    Attributes:
        outcomes: by the errand's position; one that could not go out at once has none.
    """

    def __init__(
        self,
        errands: Sequence[Errand],
        *,
        meant: Callable[[Failure], bool],
        starter: Starter,
        limits: Limits,
        places: Places,
        traffic: Traffic,
        clock: Clock,
    ) -> None:
        self.outcomes: dict[int, Reply | Failure] = {}
        self._errands = errands
        self._meant = meant
        self._starter = starter
        self._limits = limits
        self._places = places
        self._traffic = traffic
        self._clock = clock
        self._left = deque(range(len(errands)))
        self._flights: dict[int, _Flight] = {}
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Carry them out."""
        self._fill()
        try:
            await self._over
        finally:
            self._left.clear()
            self._places.forget(self._enter)
            for flight in self._flights.values():
                flight.cancel()
                self._places.leave()
            self._flights.clear()

    def _fill(self) -> None:
        """Begin as many as there are places; wait for one more."""
        while self._left and self._places.take():
            self._begin(self._left.popleft())
        if self._left:
            self._places.wait(self._enter)
        elif not self._flights and not self._over.done():
            self._over.set_result(None)

    def _enter(self) -> None:
        """A place became free, and is ours."""
        self._begin(self._left.popleft())
        self._fill()

    def _begin(self, index: int) -> None:
        errand = self._errands[index]
        now = self._clock.monotonic()
        if now >= errand.ends or not errand.server.turn_at_once(now):
            self._places.leave()
            return
        flight = self._flights[index] = _Flight(errand, now, self._traffic.slots.taken)
        flight.cancel = self._starter.start(errand.request, self._limits, partial(self._landed, index))

    def _landed(self, index: int, outcome: Response | BaseException) -> None:
        flight = self._flights.pop(index, None)
        if flight is None:  # it was given up just now
            return
        try:
            self._ended(index, flight, outcome)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the relay has it
            if not self._over.done():
                self._over.set_exception(error)
        self._places.leave()
        if not (self._left or self._flights or self._over.done()):
            self._over.set_result(None)

    def _ended(self, index: int, flight: _Flight, outcome: Response | BaseException) -> None:
        errand = flight.errand
        if isinstance(outcome, Response):
            result = errand.judge(outcome)
        elif isinstance(outcome, StepError):
            result = outcome.failure
        else:
            raise outcome
        self.outcomes[index] = result
        if isinstance(result, Reply):
            errand.server.heard(flight.began, None)
            return
        errand.server.heard(flight.began, result, meant=self._meant(result))
        self._traffic.slots.heard(flight.began, flight.in_flight, result)
