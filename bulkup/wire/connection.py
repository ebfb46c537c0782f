"""One connection, and the exchanges that follow each other on it.

What it guards against:

* An answer may come while the body is still going out. A refusal is taken at its word, and the connection closed; a
  success before the last byte proves nothing and counts as lost. A refusal with a reset behind it is still read.
* A connection is used again only if the answer ended where it said, nothing came after it, and the whole request was
  sent. Whatever is cancelled, fails or comes unasked closes it.
* Each wait has a deadline, moved by each byte; one timer serves all of them, and the connection's idleness too.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, cast

import anyio
import anyio.lowlevel

from bulkup.transport import ERROR, PATIENCE, SLOWEST, Body, Limits, Pourable, Response, no_answer
from bulkup.wire.answer import Answer
from bulkup.wire.head import Origin

_IDLE = 15.0
"""Seconds after which an unused connection is closed: servers close theirs after 20 to 75."""

_SURELY_OPEN = 0.01
"""Seconds of rest for which a connection is taken to be open without asking the kernel."""

_QUEUED = 256 * 1024
"""Bytes of an endless answer that may wait for whoever reads it."""

_SALVAGED = 64 * 1024

_LOOKS = 8
"""How often it is looked, in the time of a stall, whether the kernel takes bytes of what was written."""


class Connection(asyncio.Protocol):
    """A connection to one server, for one exchange at a time.

    Args:
        origin: where it leads.

    Attributes:
        fresh: it was not used before its last exchange.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.fresh = True
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._answer = Answer()
        self._kernel = select.poll()
        self._closed = False
        self._busy = False
        self._limits = Limits()
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._rings = inf  # when the timer does
        self._rested = 0.0
        self._latest = 0.0  # when an answer must have come that trickles
        self._news: asyncio.Future[None] | None = None  # of the answer
        self._room: asyncio.Future[None] | None = None  # for the next piece of the body
        self._over: Callable[[], None] | None = None  # who is told that an exchange is over
        self._sending: anyio.CancelScope | None = None
        self._given = True  # the whole request is in the transport's hands
        self._unsent = 0  # bytes that the kernel had not taken when somebody last looked
        self._full = False  # it holds bytes that the kernel did not take yet

    # --- an exchange ----------------------------------------------------------------------------------------------

    async def exchange(self, head: bytes, body: Body | None, limits: Limits, most: int) -> Response:
        """Send a request, and read its whole answer.

        Args:
            most: the longest body of a success, in bytes.

        Raises:
            StepError: ``no_answer``; or what the body raises.
        """
        answer = self._expect(limits, most)
        if body is not None and body.pieces is None:
            await self._stream(head, body)
        else:
            self._write((head,) if body is None else (head, *(body.pieces or ())), given=True)
        while not answer.complete:
            await self._more()
        return self.result()

    def begin(self, pieces: Sequence[bytes], limits: Limits, most: int, over: Callable[[], None]) -> None:
        """As `exchange`, for a request that is all in memory; ``over`` is called when `result` knows how it ended."""
        self._expect(limits, most)
        self._over = over
        self._write(pieces, given=True)

    def result(self) -> Response:
        """The answer to the last request; raises as `exchange`."""
        answer = self._answer
        if answer.problem is not None:
            raise no_answer(answer.problem)
        if answer.status < ERROR and not self._all_sent:
            raise no_answer(f"HTTP {answer.status} came before all bytes were sent, so it proves nothing")
        return answer.whole()

    async def follow(self, head: bytes, limits: Limits) -> Response:
        """Send a request whose answer may have no end: `chunks` gives its body, but that of a refusal is read whole."""
        answer = self._expect(limits, None)
        self._write((head,), given=True)
        while not (answer.complete or answer.endless):
            await self._more()
        return Response(answer.status, answer.headers, b"") if answer.endless else answer.whole()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body of the endless answer that `follow` began.

        Raises:
            StepError: ``no_answer``, when it breaks, or nothing comes for the stall limit.
        """
        answer = self._answer
        while answer.endless:
            if answer.waiting:
                yield answer.take()
            elif answer.complete:
                return
            else:
                if answer.problem is None:
                    self._transport.resume_reading()
                    self._move(self._limits.stall)
                await self._more()

    def _expect(self, limits: Limits, most: int | None) -> Answer:
        self._limits = limits
        self._busy = True
        self._answer.expect(most)
        return self._answer

    async def _stream(self, head: bytes, body: Body) -> None:
        """Send a body chunk by chunk, as the network takes them."""
        left = body.length
        self._write((head,), given=not left)
        try:
            with anyio.CancelScope() as self._sending:  # an answer or the deadline ends also a wait for our own bytes
                if body.poured is not None and self.tls is None:
                    await self._pour(body.poured())
                    return
                async for chunk in body.chunks():
                    await self._room_for_more()
                    left -= len(chunk)
                    self._write((chunk,), given=left <= 0)
        finally:
            self._sending = None

    async def _pour(self, parts: Sequence[bytes | Pourable]) -> None:
        """Send a body whose files threads put into the socket, while the transport has nothing to send."""
        for number, part in enumerate(parts, 1):
            await self._room_for_more()
            if isinstance(part, bytes):
                piece = part
            else:
                piece = await self._poured(part)
                await self._room_for_more()
            self._write((piece,), given=number == len(parts))

    async def _poured(self, part: Pourable) -> bytes:
        """Have all of a file sent but its last bytes; returns those."""
        try:
            socket = os.dup(self._descriptor)  # a thread may still be at it when the transport closes its own
            while True:
                last = await part.pour(socket)
                self._move(self._limits.stall)
                if last is not None:
                    return last
                await self._writable(socket)
        except OSError as error:
            await self._rounds()
            self._salvage()
            self._transport.abort()
            self._end(_broke(error))  # which cancels this
            raise no_answer(_broke(error)) from None

    async def _writable(self, socket: int) -> None:
        writable = anyio.Event()
        self._loop.add_writer(socket, writable.set)
        try:
            await writable.wait()
        finally:
            self._loop.remove_writer(socket)

    async def _rounds(self) -> None:
        # an answer that came is read before a write can fail, since a refusal often closes the connection: the event
        # loop looks at its sockets in the first round and reads them by the end of the second
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()

    async def _room_for_more(self) -> None:
        await self._rounds()
        if self._full:
            self._room = self._loop.create_future()
            await self._room

    async def _more(self) -> None:
        """Wait until something of the answer comes; raises `StepError` when nothing will."""
        if self._answer.problem is not None:
            raise no_answer(self._answer.problem)
        self._news = self._loop.create_future()
        await self._news

    # --- between exchanges ----------------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow the last one."""
        answer = self._answer
        return answer.complete and answer.keeps_alive and self._given and not (self._full or self._closed)

    def rest(self) -> None:
        """Nobody uses it for now: it closes itself after a while."""
        self._busy = self.fresh = False
        self._rested = self._loop.time()
        self._move(_IDLE)

    @property
    def usable(self) -> bool:
        """Whether it is still open, as far as anybody can know."""
        if self._closed or self._transport.is_closing():
            return False
        if self._loop.time() - self._rested < _SURELY_OPEN:
            return True
        return not self._kernel.poll(0)  # no end, and no bytes that nobody asked for

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject`; None without TLS."""
        return self._transport.get_extra_info("ssl_object")

    def close(self) -> None:
        """Close it at once, whatever is under way; nobody is told."""
        self._over = None
        if not self._closed:
            self._transport.abort()
            self._end("the connection was closed")

    # --- what asyncio calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = cast("asyncio.Transport", transport)
        # so that it says when the kernel took all; with TLS it would say at 0 that it never does
        self._transport.set_write_buffer_limits(high=0 if self.tls is None else 1, low=0)
        self._kernel.register(self._descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        answer = self._answer
        if not self._busy:  # nobody asked
            self.close()
            return
        headed = answer.headed
        answer.feed(data)
        if answer.over:
            self._wake()
        elif answer.endless:
            if answer.waiting > _QUEUED:
                self._transport.pause_reading()
            self._wake()
        elif answer.headed:
            if not headed:
                self._latest = self._loop.time() + self._limits.answer + PATIENCE
            latest = self._latest + answer.length / SLOWEST
            self._move(min(self._limits.stall, latest - self._loop.time()))

    def pause_writing(self) -> None:
        """The kernel did not take all bytes yet."""
        self._full = True

    def resume_writing(self) -> None:
        """The kernel took them."""
        self._full = False
        if self._busy:
            self._move(self._limits.answer if self._given else self._limits.stall)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed."""
        if self._closed:
            return
        if error is None:
            self._answer.end()
        elif self.tls is None and self._busy:
            self._salvage()
        self._end(_broke(error))

    def _salvage(self) -> None:
        """Read what had come before a write failed: a refusal with a reset behind it."""
        with suppress(OSError):
            while not self._answer.complete and (data := os.read(self._descriptor, _SALVAGED)):
                self._answer.feed(data)

    # --- helpers --------------------------------------------------------------------------------------------------

    @property
    def _descriptor(self) -> int:
        return int(self._transport.get_extra_info("socket").fileno())

    @property
    def _all_sent(self) -> bool:
        return self._given and not self._full

    def _write(self, pieces: Sequence[bytes], *, given: bool) -> None:
        self._given = given
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)
        self._unsent = self._transport.get_write_buffer_size() if self._full else 0
        self._move(self._limits.answer if given and not self._full else self._limits.stall)

    def _end(self, why: str) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._answer.over:
            self._answer.problem = why
        self._wake()

    def _wake(self) -> None:
        """There is news, which ends also the sending; where a call is waited for (`begin`), only the end is news."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        if self._sending is not None:
            self._sending.cancel()
        if self._over is not None:
            over, self._over = self._over, None
            over()

    def _move(self, seconds: float) -> None:
        """Move the deadline of what is waited for."""
        now = self._loop.time()
        self._deadline = at = now + seconds
        if self._full:
            at = now + seconds / _LOOKS
        if at < self._rings:
            self._ring(at)

    def _ring(self, at: float) -> None:
        """Look at that time, and not later."""
        if self._timer is not None:
            self._timer.cancel()
        self._rings = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        """The timer rang: time is over, unless the deadline moved meanwhile, or bytes of a long chunk still move."""
        self._timer, self._rings = None, inf
        unsent = self._transport.get_write_buffer_size() if self._full else 0
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self._move(self._limits.stall)
        elif (now := self._loop.time()) < self._deadline:
            self._ring(min(self._deadline, now + self._limits.stall / _LOOKS) if unsent else self._deadline)
        else:
            if self._busy and not self._answer.over:
                self._answer.problem = self._overdue()
            self._transport.abort()
            self._end("nobody used the connection")

    def _overdue(self) -> str:
        if self._answer.endless:
            return f"the stream was silent for {self._limits.stall:g} s"
        return f"no answer within {self._limits.answer:g} s" if self._all_sent else "no byte moved in time"


def _broke(error: Exception | None) -> str:
    return "the connection broke" + (f" ({type(error).__name__})" if error is not None else "")
