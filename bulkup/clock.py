"""Time and chance, injected so that no test has to sleep."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import anyio


@dataclass(frozen=True, slots=True)
class Clock:
    """What the engine knows of time.

    Attributes:
        monotonic: seconds that never go back, for deadlines.
        wall: seconds since the epoch, for what is written down.
        sleep: waits so many seconds.
        dice: a random number in [0, 1), for jitter.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    dice: Callable[[], float] = random.random

    def stamp(self) -> str:
        """The present as ISO 8601 in UTC, with milliseconds."""
        second, rest = divmod(self.wall(), 1)
        return f"{_second(int(second))}.{int(rest * 1000):03}Z"


@lru_cache(4)
def _second(count: int) -> str:
    return datetime.fromtimestamp(count, UTC).strftime("%Y-%m-%dT%H:%M:%S")
