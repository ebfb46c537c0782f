"""Many side by side, or one alone: what keeps a look at a vendor's list apart from the inits that change it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Doors:
    """A door for each key, there as long as somebody uses it.

    At a door any number may be passing at a time, or one may be alone; who wants to be alone goes first.
    """

    def __init__(self) -> None:
        self._doors: dict[str, _Door] = {}

    @asynccontextmanager
    async def passing(self, key: str) -> AsyncIterator[None]:
        """Be there, beside others that pass."""
        async with self._used(key) as door, door.condition:
            while door.taken:
                await door.condition.wait()
            door.passing += 1
            door.condition.release()
            try:
                yield
            finally:
                door.passing -= 1
                with anyio.CancelScope(shield=True):
                    await door.condition.acquire()
                door.condition.notify_all()

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """Be there while nobody passes."""
        async with self._used(key) as door, door.condition:
            while door.taken:
                await door.condition.wait()
            door.taken = True
            try:
                while door.passing:
                    await door.condition.wait()
                door.condition.release()
                try:
                    yield
                finally:
                    with anyio.CancelScope(shield=True):
                        await door.condition.acquire()
            finally:
                door.taken = False
                door.condition.notify_all()

    @asynccontextmanager
    async def _used(self, key: str) -> AsyncIterator[_Door]:
        door = self._doors.setdefault(key, _Door())
        door.users += 1
        try:
            yield door
        finally:
            door.users -= 1
            if not door.users:
                del self._doors[key]


class _Door:
    def __init__(self) -> None:
        self.condition = anyio.Condition()
        self.users = 0
        self.passing = 0
        self.taken = False
