"""The port that the sandbox listens on, which can be closed for a while, and the connections to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

from aiohttp import web

_BACKLOG: Final = 1024


class Connections:
    """Connections that requests came over, and that may have more of them."""

    def __init__(self) -> None:
        self._known: WeakSet[asyncio.Transport] = WeakSet()
        self._idle: WeakSet[asyncio.Transport] = WeakSet()

    @contextmanager
    def serving(self, request: web.BaseRequest) -> Iterator[bool]:
        """Note a request's connection; whether it had one before."""
        transport = request.transport
        if transport is None:
            yield False
            return
        known = transport in self._known
        self._known.add(transport)
        self._idle.discard(transport)
        try:
            yield known
        finally:
            self._idle.add(transport)

    def close_idle(self) -> None:
        """Close those over which nothing is under way."""
        for transport in [*self._idle]:
            transport.close()


class Port:
    """Where the server listens. While it is closed, it stays bound, so that no other program gets it.

    Args:
        runner: of the server.
        connections: to it.
    """

    def __init__(self, runner: web.AppRunner, connections: Connections) -> None:
        self._runner = runner
        self._connections = connections
        self._held: list[socket.socket] = []

    async def listen(self, host: str, port: int) -> int:
        """Begin to listen; the port's number, where ``port`` is 0."""
        await web.TCPSite(self._runner, host, port, backlog=_BACKLOG).start()
        number: int = self._runner.addresses[0][1]
        return number

    async def close(self) -> None:
        """Refuse connections from now on, and keep none: what is under way over one is answered before."""
        if self._held:
            return
        addresses = self._runner.addresses
        for site in [*self._runner.sites]:
            await site.stop()
        self._held = [_bound(address) for address in addresses]
        self._connections.close_idle()

    async def open(self) -> None:
        """Listen again, if it is closed."""
        held, self._held = self._held, []
        for each in held:
            await web.SockSite(self._runner, each, backlog=_BACKLOG).start()

    async def prepare(self, _request: web.BaseRequest, answer: web.StreamResponse) -> None:
        """Keep no connection while it is closed; a signal of aiohttp."""
        if self._held:
            answer.force_close()

    async def open_after(self, seconds: float) -> None:
        """Listen again, some seconds later."""
        await asyncio.sleep(seconds)
        await self.open()

    def release(self) -> None:
        """Give the port back."""
        for each in self._held:
            each.close()
        self._held = []


PORT: Final = web.AppKey("bulkup_sandbox_port", Port)


def _bound(address: tuple[str, int]) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)  # noqa: FBT003 # the standard library's signature
    made.bind(address[:2])
    return made
