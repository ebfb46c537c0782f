"""How many bytes of bodies a run holds at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Memory:
    """A budget of bytes: first come, first served, so that a large wish is not passed by small ones for ever.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def held(self, wanted: int) -> AsyncIterator[None]:
        """Hold so many bytes, or all there are if that is less."""
        wanted = min(wanted, self._total)
        await self._take(wanted)
        try:
            yield
        finally:
            self._give(wanted)

    async def _take(self, wanted: int) -> None:
        if wanted <= self._free and not self._waiting:
            self._free -= wanted
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._waiting = deque(each for each in self._waiting if each[1] is not mine)
                self._give(0)
            else:
                self._give(wanted)
            raise

    def _give(self, count: int) -> None:
        self._free += count
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, waiting = self._waiting.popleft()
            if not waiting.cancelled():
                self._free -= wanted
                waiting.set_result(None)
