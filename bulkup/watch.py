"""Who waits for what in a run, and when anything last moved: what a watchdog looks at."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial

from bulkup.errors import LeaseLostError
from bulkup.tasks import begin
from bulkup.transport import Body, Done, Limits, Pourable, Request, Response, Starter, Stream, Transport


class Watch:
    """Notes every move of a run, in real time: what hangs, hangs whatever a clock says.

    Attributes:
        requests: how many were sent.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._moved_at = time.monotonic()
        self._doing: Counter[str] = Counter()

    def moved(self) -> None:
        """Something moved: a byte, an answer, a step."""
        self._moved_at = time.monotonic()

    @property
    def quiet(self) -> float:
        """Seconds since anything moved."""
        return time.monotonic() - self._moved_at

    def doing(self, what: str) -> AbstractContextManager[None]:
        """Somebody is at it."""
        return _Doing(self, self._doing, what)

    def waiting(self) -> str:
        """What everybody is at, such as ``loanpro: init (3)``."""
        return ", ".join(f"{what} ({count})" for what, count in sorted(self._doing.items()) if count) or "nobody"


class _Doing:
    """Counts somebody who is at something."""

    __slots__ = ("_counts", "_watch", "_what")

    def __init__(self, watch: Watch, counts: Counter[str], what: str) -> None:
        self._watch = watch
        self._counts = counts
        self._what = what

    def __enter__(self) -> None:
        self._watch.moved()
        self._counts[self._what] += 1

    def __exit__(self, *_: object) -> None:
        self._counts[self._what] -= 1
        self._watch.moved()


class Watched:
    """A `Transport` whose requests and bytes are noted; and held back, once whoever sends must not any more.

    Args:
        held: whether anything may be sent, and the last of a large body; else `LeaseLostError` is raised.
    """

    def __init__(self, transport: Transport, watch: Watch, held: Callable[[], bool] = lambda: True) -> None:
        self._transport = transport
        self._starter = transport if isinstance(transport, Starter) else None
        self._watch = watch
        self._held = held

    async def send(self, request: Request, limits: Limits) -> Response:
        """See `Transport.send`."""
        self._check()
        try:
            return await self._transport.send(self._noted(request), limits)
        finally:  # a deadline that passed is a move, too: nothing hangs
            self._watch.moved()

    def start(self, request: Request, limits: Limits, done: Done) -> Callable[[], object]:
        """See `Starter.start`; a transport that can't do that has a task for it."""
        if self._starter is None:
            return begin(partial(self.send, request, limits), done)

        def moved(outcome: Response | BaseException) -> None:
            self._watch.moved()
            done(outcome)

        self._check()
        return self._starter.start(self._noted(request), limits, moved)

    @asynccontextmanager
    async def stream(self, request: Request, limits: Limits) -> AsyncIterator[Stream]:
        """See `Transport.stream`."""
        self._check()
        try:
            async with self._transport.stream(self._noted(request), limits) as stream:
                self._watch.moved()
                async with aclosing(self._moving(stream.chunks)) as chunks:
                    yield Stream(stream.response, chunks)
        finally:
            self._watch.moved()

    def _check(self) -> None:
        if not self._held():
            raise LeaseLostError("this worker was silent for too long: others may go on with its rows")

    def _noted(self, request: Request) -> Request:
        self._watch.requests += 1
        body = request.body
        if body is None or body.pieces is not None:
            return request
        moving = Body(body.length, lambda: self._moving(body.chunks()))
        if (poured := body.poured) is not None:
            moving = replace(moving, poured=lambda: [self._noting(part) for part in poured()])
        return replace(request, body=moving)

    def _noting(self, part: bytes | Pourable) -> bytes | Pourable:
        return part if isinstance(part, bytes) else _Noted(part, self._watch, self._check)

    async def _moving(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            self._watch.moved()
            self._check()
            yield chunk


class _Noted:
    """A `Pourable` whose moves are noted."""

    def __init__(self, part: Pourable, watch: Watch, check: Callable[[], None]) -> None:
        self._part = part
        self._watch = watch
        self._check = check

    async def pour(self, socket: int) -> bytes | None:
        """See `Pourable.pour`."""
        try:
            last = await self._part.pour(socket)
        finally:
            self._watch.moved()
        self._check()
        return last
