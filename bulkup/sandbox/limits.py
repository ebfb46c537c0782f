"""How many requests a server takes in a time, as gateways count: token bucket, fixed window, sliding window. Pure.

All times are Unix times in seconds; one that goes back counts as no time passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

Window = Literal["bucket", "fixed", "sliding"]

_SECOND: Final = 1.0
_ROUNDING: Final = 1e-9


class Bucket:
    """A bucket of ``burst`` tokens, full at first, to which ``per_second`` come evenly; a request takes one."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens, self._at = burst, 0.0

    def takes(self, now: float) -> bool:
        """Whether a request that comes now is taken."""
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
            self._at = now
        if self._tokens < 1 - _ROUNDING:
            return False
        self._tokens -= 1
        return True


class FixedWindow:
    """So many in each whole second of the server's clock."""

    def __init__(self, per_second: float, _burst: float = 0) -> None:
        self._per_second = per_second
        self._second, self._count = -1, 0

    def takes(self, now: float) -> bool:
        """Whether a request that comes now is taken."""
        if int(now) > self._second:
            self._second, self._count = int(now), 0
        if self._count >= self._per_second:
            return False
        self._count += 1
        return True


class SlidingWindow:
    """So many in any second; what was refused does not count."""

    def __init__(self, per_second: float, _burst: float = 0) -> None:
        self._per_second = per_second
        self._taken: deque[float] = deque()

    def takes(self, now: float) -> bool:
        """Whether a request that comes now is taken."""
        while self._taken and self._taken[0] <= now - _SECOND:
            self._taken.popleft()
        if len(self._taken) >= self._per_second:
            return False
        self._taken.append(now)
        return True


_KINDS: Final[dict[Window, Callable[[float, float], Bucket | FixedWindow | SlidingWindow]]] = {
    "bucket": Bucket,
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
}


@dataclass
class Limit:
    """A limit in use, that counts what it did.

    Args:
        window: how it counts.
        per_second: requests.
        burst: tokens of a bucket.

    Attributes:
        seconds: for each second since the first request, how many were taken and how many refused.
    """

    window: Window
    per_second: float
    burst: float = 1
    seconds: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rule = _KINDS[self.window](self.per_second, self.burst)
        self._first: float | None = None

    def takes(self, now: float) -> bool:
        """Whether a request that comes now is taken."""
        if self._first is None:
            self._first = now
        second = max(0, int(now - self._first))
        self.seconds += [[0, 0] for _ in range(second + 1 - len(self.seconds))]
        taken = self._rule.takes(now)
        self.seconds[second][0 if taken else 1] += 1
        return taken
