"""What carries requests, and what it carries: the words that the core and its HTTP clients share."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from bulkup.errors import StepError
from bulkup.model import Again, Failure

Chunks = Callable[[], AsyncIterator[bytes]]


class Pourable(Protocol):
    """Bytes that a thread puts straight into a socket, past the event loop."""

    async def pour(self, socket: int) -> bytes | None:
        """Put in as much as the socket takes, or a good deal of it.

        Args:
            socket: the descriptor of a duplicate of a socket that does not block, the same one each time. It belongs
                to these bytes from now on, which close it.

        Returns:
            The last bytes, when only these are left: whoever asks sends them, and so knows when all was sent. None:
            there is more, once the socket takes it.

        Raises:
            StepError: as the chunks do, before the last bytes were given out.
            OSError: the socket is broken.
        """


@dataclass(slots=True)  # not frozen, as the two below: that would make each four times as slow to make
class Body:
    """The bytes of a request.

    Attributes:
        length: how many bytes there will be, exactly.
        chunks: starts the stream, afresh for each attempt.
        pieces: all of them, where they are in memory already; they may be sent without asking for the stream.
        poured: the same again, afresh for each attempt, for a client whose connection is a plain socket.
    """

    length: int
    chunks: Chunks = field(repr=False)
    pieces: Sequence[bytes] | None = field(default=None, repr=False)
    poured: Callable[[], Sequence[bytes | Pourable]] | None = field(default=None, repr=False)


def body_of(*pieces: bytes) -> Body:
    """A body that is in memory already."""

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return Body(sum(map(len, pieces)), chunks, pieces)


@dataclass(slots=True)
class Request:
    """One HTTP request.

    Attributes:
        url: sent exactly as it stands; may be signed, so it is hidden.
        headers: exactly these, besides ``Host`` and ``Content-Length``.
        fresh: over a new connection, which is closed afterwards.
        most: the longest body of its answer, in bytes; a longer one counts as lost.
    """

    method: str
    url: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: Body | None = None
    fresh: bool = False
    most: int = 256 * 1024 * 1024


@dataclass(slots=True)
class Response:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines of one exchange, in seconds.

    Attributes:
        connect: until a connection stands.
        answer: for an answer, from the last byte sent.
        stall: without a byte moving.
    """

    connect: float = 10.0
    answer: float = 30.0
    stall: float = 30.0


class Transport(Protocol):
    """Carries requests; a fake of it is a few lines."""

    async def send(self, request: Request, limits: Limits) -> Response:
        """One request, one answer, never repeated.

        Raises:
            StepError: ``unreachable`` when it surely never left, ``no_answer`` when an answer never came; or what
                the body raised, whose bytes then never all left.
        """

    def stream(self, request: Request, limits: Limits) -> AbstractAsyncContextManager[Stream]:
        """A request whose answer has no end; an error status arrives as an empty stream with its body read."""


Done = Callable[[Response | BaseException], None]


@runtime_checkable
class Starter(Protocol):
    """A `Transport` that needs no task for a request."""

    def start(self, request: Request, limits: Limits, done: Done) -> Callable[[], object]:
        """As `Transport.send`, but later its end is told by a call: a task costs as much as a small file's transfer.

        Args:
            done: is given the answer, or what `Transport.send` would raise.

        Returns:
            What gives it up; afterwards ``done`` is not called any more.
        """


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is read as it comes.

    Attributes:
        response: status and headers; the body only if the status is an error.
        chunks: the bytes; raises `StepError` when the connection breaks or nothing comes for ``limits.stall``.
    """

    response: Response
    chunks: AsyncIterator[bytes]


MOST_OF_AN_ERROR = 64 * 1024
"""Bytes of a refusal that anybody reads; after more the connection is given up."""

ERROR = 300
"""A status from here on is no success."""

SLOWEST, PATIENCE = 1024, 60.0
"""Bytes a second, and seconds to begin with: an answer that comes more slowly is given up, or it might never end."""

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may hold (RFC 9110, 5.5): vendors' answers become headers of ours."""


def no_answer(text: str) -> StepError:
    """An answer was lost: what it said, if there was one, is not known."""
    return StepError(Failure("no_answer", text, Again.SAME))


_UNSENT = 128 * 1024
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", {"linux": 25, "darwin": 0x201}.get(sys.platform))


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket whose kernel buffer holds little that is not on its way: else megabytes in it look like a stall.

    Args:
        address: as `socket.getaddrinfo` gives it.
    """
    made = socket.socket(*address[:3])
    made.setblocking(False)  # noqa: FBT003 - the standard library's signature
    if _TCP_NOTSENT_LOWAT is not None:
        made.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT)
    return made
