"""How many uploads may be in flight at a vendor that does not say how many it can stand.

* **Slow start**: two more for each upload that ends well, so three times as many each round, until trouble or until
  calls clearly take longer.
* **Then gently**: a tenth more each round; below a limit that met trouble one more each round, near it one in ten: a
  vendor with a hard limit is not asked again and again.
* **Back off** on 503 and time-outs, to 80 % (half in slow start), once for a burst: calls that began before the
  last step back only confirm it.
* **Latency.** One call says nothing: it may be a large file. The median of a round of calls (as many as the limit, 50
  at least) is compared with the lowest. Above 1.7 times that nothing grows; above 2.5 times in two rounds running the
  limit shrinks by a tenth a round. If calls take still as long when it has halved, the vendor or the files became
  slower for reasons of their own: what is measured is the new normal.

A limit that is not used (less than half in flight) does not grow, since nobody knows whether it would hold.
"""

from __future__ import annotations

from math import inf
from statistics import median

_ROUND, _FIRST_ROUNDS = 50, 20  # calls to a median
_SLOWER, _FAR_SLOWER = 1.7, 2.5
_BACK_OFF, _BACK_OFF_FROM_SLOW_START, _SHRINK = 0.8, 0.5, 0.9
_NO_HELP = 0.75
_SHORTEST = 1e-6  # seconds, so that a ratio exists
_GENTLY, _NEAR, _CAUTION = 0.1, 0.9, 0.1


class Window:
    """The limit of uploads in flight.

    Args:
        ceiling: the most the user allows; also bounds the floor and the start.
        floor: never less.
        start: uploads in flight at first.

    All times are seconds of one monotonic clock.
    """

    def __init__(self, ceiling: int, floor: int = 1, start: int = 4) -> None:
        self._ceiling = ceiling
        self._floor = min(floor, ceiling)
        self._limit = float(min(max(start, self._floor), ceiling))
        self._slow_start = True
        self._changed = -inf  # when it last stepped back
        self._trouble = inf  # the limit at which trouble was last met
        self._round: list[float] = []
        self._normal = inf
        self._ratio = 1.0  # of the last median to the normal one
        self._before = (0.0, 0.0)  # the limit and the median at which the limit began to shrink; 0.0: it does not

    @property
    def limit(self) -> int:
        """How many uploads may be in flight now: from the floor to the ceiling."""
        return int(self._limit)

    def succeeded(self, now: float, seconds: float, in_flight: int) -> None:
        """A call ended well after ``seconds``; ``in_flight`` is how many there were, itself included, as it began."""
        self._round.append(seconds)
        if len(self._round) >= (_FIRST_ROUNDS if self._slow_start else max(_ROUND, self._limit)):
            self._judge(now, median(self._round))
        if now - seconds < self._changed or in_flight < self._limit / 2 or self._ratio > _SLOWER:
            return
        if self._slow_start:
            step = 2.0
        elif self._trouble + 1 < self._limit or self._trouble == inf:
            step = _GENTLY
        else:
            step = (_CAUTION if self._limit >= _NEAR * self._trouble else 1) / self._limit
        self._limit = min(self._limit + step, self._ceiling)
        if self._slow_start and self._limit == self._ceiling:
            self._slow_start, self._normal = False, inf  # while the limit grew, mostly quick calls had ended
            self._round.clear()

    def troubled(self, now: float, began: float) -> None:
        """A call that began at ``began`` met a 503 or a time-out."""
        if began < self._changed:
            return
        self._trouble = self._limit
        self._step_back(now, _BACK_OFF_FROM_SLOW_START if self._slow_start else _BACK_OFF)
        self._slow_start = False

    def _judge(self, now: float, seconds: float) -> None:
        """A round's median: does the vendor slow down?"""
        self._round.clear()
        seconds = max(seconds, _SHORTEST)
        self._normal = min(self._normal, seconds)
        last, self._ratio = self._ratio, seconds / self._normal
        if self._ratio <= _SLOWER:
            self._before = (0.0, 0.0)
            return
        self._slow_start = False
        if min(last, self._ratio) <= _FAR_SLOWER:
            return
        limit, median_then = self._before = self._before if self._before[0] else (self._limit, seconds)
        if self._limit > max(self._floor, limit / 2):
            self._step_back(now, _SHRINK)
        elif seconds > _NO_HELP * median_then:
            self._normal, self._ratio, self._before = seconds, 1.0, (0.0, 0.0)

    def _step_back(self, now: float, share: float) -> None:
        self._limit = max(self._floor, self._limit * share)
        self._changed = now
        self._round.clear()
