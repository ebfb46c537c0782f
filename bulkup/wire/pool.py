"""Connections that can be used again, for each server the last used first, and how new ones come about."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import defaultdict
from ipaddress import ip_address

import aiohappyeyeballs
import anyio

from bulkup.errors import StepError
from bulkup.model import Again, Failure
from bulkup.tls import Resuming, refused
from bulkup.transport import open_socket
from bulkup.wire.connection import Connection
from bulkup.wire.head import Origin

_KEPT = 128
"""Idle connections kept for each server."""

_KNOWN_FOR = 30.0
"""Seconds for which the addresses of a name are not asked for again."""

_SECOND_FAMILY_AFTER = 0.25
"""Seconds after which the next address is tried beside the first (RFC 8305, 5)."""

_Addresses = list[tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str, int]]]


class Pool:
    """The connections of one client.

    Args:
        tls: whom they trust.
    """

    def __init__(self, tls: Resuming) -> None:
        self._tls = tls
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._names = _Names()

    def take(self, origin: Origin) -> Connection | None:
        """A connection that is open and idle, if there is one."""
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    def give(self, connection: Connection, *, again: bool = True) -> None:
        """Keep a connection for later, if it can be used again; close it otherwise.

        Args:
            again: nothing speaks against another request on it.
        """
        if connection.fresh and connection.tls is not None:
            self._tls.keep(connection.origin.host, connection.tls)
        idle = self._idle[connection.origin]
        if again and connection.reusable and len(idle) < _KEPT:
            connection.rest()
            idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close all that are idle."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    async def connect(self, origin: Origin, seconds: float) -> Connection:
        """A new connection.

        Args:
            seconds: how long it may take to come about.

        Raises:
            StepError: ``unreachable`` or ``tls_failed``.
        """
        connection = None
        try:
            with anyio.move_on_after(seconds):
                connection = await self._open(origin)
            if connection is not None:  # also one that came about just as time was over
                return connection
            failure = Failure("unreachable", "no connection came about in time", Again.SAME, sent=False)
        except ssl.SSLError as error:
            raise refused(origin.host, error) from None
        except OSError as error:
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror or type(error).__name__
            text = f"can't connect to {origin.host}:{origin.port}: {reason}"
            failure = Failure("unreachable", text, Again.SAME, sent=False)
        raise StepError(failure) from None

    async def _open(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        made = await aiohappyeyeballs.start_connection(
            await self._names.look_up(origin.host, origin.port),
            happy_eyeballs_delay=_SECOND_FAMILY_AFTER,
            socket_factory=open_socket,
        )
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(origin),
                sock=made,
                ssl=self._tls if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        except BaseException:
            made.close()
            raise
        return connection


class _Names:
    """Addresses of names, each asked for once in a while, however many want to know."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, _Addresses]] = {}
        self._asking: dict[tuple[str, int], anyio.Lock] = {}

    async def look_up(self, host: str, port: int) -> _Addresses:
        """The addresses of a host; raises OSError."""
        try:
            family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004
        except ValueError:
            return await self._ask(host, port)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    async def _ask(self, host: str, port: int) -> _Addresses:
        loop = asyncio.get_running_loop()
        async with self._asking.setdefault((host, port), anyio.Lock()):
            until, addresses = self._known.get((host, port), (0.0, []))
            if loop.time() >= until:
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = [(*each[:4], each[4]) for each in found]
                self._known[host, port] = (loop.time() + _KNOWN_FOR, addresses)
        return addresses
