"""How many bytes of bodies a run holds at a time."""

from __future__ import annotations

import asyncio
from collections import deque


class Memory:
    """A budget of bytes: first come, first served, so that a large wish is not passed by small ones for ever.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, wanted: int) -> int:
        """Hold so many bytes until `give`, or all there are if that is less; returns how many."""
        wanted = min(wanted, self._total)
        if wanted <= self._free and not self._waiting:
            self._free -= wanted
            return wanted
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._waiting = deque(each for each in self._waiting if each[1] is not mine)
                self.give(0)
            else:
                self.give(wanted)
            raise
        return wanted

    def give(self, count: int) -> None:
        """Give bytes back."""
        self._free += count
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, waiting = self._waiting.popleft()
            if not waiting.cancelled():
                self._free -= wanted
                waiting.set_result(None)
