"""The client: requests over pooled connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

from bulkup.errors import StepError
from bulkup.model import Again, Failure
from bulkup.tasks import begin
from bulkup.tls import Resuming, trusting
from bulkup.transport import Done, Limits, Request, Response, Stream
from bulkup.wire.connection import Connection
from bulkup.wire.head import Origin, addressed, composed
from bulkup.wire.pool import Pool


class Wire:
    """A `bulkup.transport.Transport`. Open it with ``async with``.

    Args:
        tls: from `trusting`.
    """

    def __init__(self, tls: Resuming | None = None) -> None:
        self._pool = Pool(tls or trusting())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    async def send(self, request: Request, limits: Limits) -> Response:
        """See `Transport.send`."""
        origin, head = _ready(request)
        connection = await self._connected(origin, request, limits)
        try:
            response = await connection.exchange(head, request.body, limits, request.most)
        except BaseException:
            connection.close()
            raise
        self._pool.give(connection, again=not request.fresh)
        return response

    def start(self, request: Request, limits: Limits, done: Done) -> Callable[[], object]:
        """See `Starter.start`; what needs a new connection, or has a body to be read meanwhile, has a task."""
        try:
            origin, head = _ready(request)
        except StepError:
            return begin(partial(self.send, request, limits), done)
        pieces: Sequence[bytes] | None = () if request.body is None else request.body.pieces
        if request.fresh or pieces is None or (connection := self._pool.take(origin)) is None:
            return begin(partial(self.send, request, limits), done)

        def over() -> None:
            try:
                response = connection.result()
            except StepError as error:
                connection.close()
                done(error)
            else:
                self._pool.give(connection)
                done(response)

        connection.begin((head, *pieces), limits, request.most, over)
        return connection.close

    @asynccontextmanager
    async def stream(self, request: Request, limits: Limits) -> AsyncIterator[Stream]:
        """See `Transport.stream`."""
        origin, head = _ready(request)
        connection = await self._connected(origin, request, limits)
        try:
            response = await connection.follow(head, limits)
            yield Stream(response, connection.chunks())
        except BaseException:
            connection.close()
            raise
        self._pool.give(connection, again=not request.fresh)

    async def _connected(self, origin: Origin, request: Request, limits: Limits) -> Connection:
        connection = None if request.fresh else self._pool.take(origin)
        return connection or await self._pool.connect(origin, limits.connect)


def _ready(request: Request) -> tuple[Origin, bytes]:
    """Where a request goes, and its head; raises `StepError`."""
    try:
        origin, target = addressed(request.url)
        return origin, composed(request, origin, target)
    except ValueError:
        pass
    raise StepError(Failure("bad_url", "the URL or a header makes no sense", Again.NEVER, sent=False))
