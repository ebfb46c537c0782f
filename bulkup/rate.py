"""How fast requests may follow each other at a server that does not say how many it allows.

Nothing is held back until the server refuses a request for its rate (429, or S3's SlowDown). From then on:

* **Ask.** One request at a time asks whether the server takes some again: after 10 ms, then twice as long each time,
  from 0.15 s on a third of the time that it has refused all.
* **Bucket or window?** A server that soon takes some again fills a bucket bit by bit: its rate is searched, growing
  with each accepted request, and set to what was accepted between two refusals. One that refused all for long counts
  by windows of time (mostly a second): what it took in the second before it refused is its rate. If it took all for
  some time before, the search starts higher, and ends at the rate at which it was refused then.
* **Cruise.** From 3 % below the rate found it grows as in CUBIC: flat near that rate, then ever steeper. So a refusal
  is provoked each 2.3 s and each 150 requests at most, and a limit that rose fourfold is found in ten seconds. Accepted
  requests drive it, not time: a rate that nobody uses does not grow. A refusal sets the rate anew from what was
  accepted; two in quick succession mean that the limit fell: search again.
* **In vain.** Refusals that come one by one, however much the rate was lowered, have another cause. When it has fallen
  by a third that way, it goes back to where it was, and a fifth further. If that is wrong, it costs a search.

Refusals of requests that were sent before the last decision only belong to the same burst.
"""

from __future__ import annotations

from collections import deque
from math import inf, sqrt

_FIRST_WAIT, _LADDER, _LONGEST_WAIT = 0.01, 0.15, 30.0  # seconds
_LONG = 0.25  # so long without anything accepted: the server counts by windows of time
_SLOWEST_START = 5.0  # a second
_SPREAD = 0.4  # so long without a refusal: what was accepted was no small bucket
_MEMORY = 2.0  # seconds over which accepted requests are counted
_MARGIN = 0.03
_CYCLE, _LEAST_CYCLE = 2.3, 150  # seconds, requests
_SEARCH, _SEARCH_AGAIN, _SEARCHED = 0.2, 0.1, 0.02  # growth of the rate for each accepted request
_PER_ROUND = 0.5  # growth of the rate in one round trip, at most
_EARLY, _FEW = 10, 3  # accepted requests between two refusals
_IN_VAIN, _FURTHER = 2 / 3, 1.2  # of the highest rate since the last search


class Rate:
    """The pace of requests to one server.

    Args:
        ceiling: requests per second that the user allows; None: no limit.

    All times are seconds of one monotonic clock.
    """

    def __init__(self, ceiling: float | None = None) -> None:
        self._ceiling = inf if ceiling is None else ceiling
        self._rate = self._top = inf  # now, and where the curve of the cruise is flat
        self._sure = False  # of the top
        self._windowed = False
        self._growth = 0.0  # of the search; 0: no search
        self._most = inf  # that a search can find: faster than it was refused at is in vain
        self._peak = 0.0  # the highest top since a search
        self._steps, self._cycle = 0, 1.0  # of the cruise, in accepted requests
        self._asking = False  # one request at a time
        self._wait, self._round_trip = 0.0, 0.0
        self._first_refusal, self._last_refusal = -inf, -inf  # while asking
        self._decided, self._burst, self._not_before = -inf, -inf, -inf
        self._refused, self._taken, self._early = 0, 0, False  # since the last burst of refusals began
        self._accepted: deque[float] = deque()

    def interval(self) -> float:
        """Seconds from one request to the next; 0.0: no limit is known."""
        apart = 1 / min(max(self._rate, 1 / _LONGEST_WAIT), self._ceiling)
        return max(apart, self._wait + self._round_trip) if self._asking else apart

    def accepted(self, now: float, sent: float) -> None:
        """An answer came that is no refusal for the rate, to a request sent at ``sent``."""
        if not self._asking:
            while len(self._accepted) > _MEMORY * 50 and self._accepted[0] < now - _MEMORY:
                self._accepted.popleft()
        self._accepted.append(now)
        self._taken += 1
        if sent < self._decided:
            return
        if self._asking:
            self._asking, self._decided = False, now
            self._resume(sent)
        elif self._growth:
            in_flight = max(1.0, self._rate * (now - sent))
            self._rate = min(self._rate * (1 + min(self._growth, _PER_ROUND / in_flight)), self._most)
        elif self._rate < inf:
            self._steps += 1
            self._rate = self._top * (1 - _MARGIN * (1 - self._steps / self._cycle) ** 3)

    def refused(self, now: float, sent: float, retry_after: float | None) -> float:
        """A refusal came for a request sent at ``sent``; returns for how many seconds nothing may be sent now."""
        asked = max(0.0, retry_after or 0.0)
        self._refused += 1
        if sent >= self._decided:
            if self._asking:
                longer = min(2 * self._wait, max(_LADDER, (now - self._first_refusal) / 3), _LONGEST_WAIT)
                self._wait, self._last_refusal = longer, sent
            else:
                if self._rate == inf or self._windowed or not self._taken:
                    self._asking, self._first_refusal, self._last_refusal = True, sent, sent
                self._wait, self._round_trip = max(asked, _FIRST_WAIT if self._asking else 0.0), now - sent
                if self._rate < inf:
                    self._slow_down(now)
            self._decided = self._burst = now
            self._not_before = max(self._not_before, now + self._wait)
            self._refused, self._taken = 1, 0
        self._not_before = max(self._not_before, now + asked)
        return max(asked, self._not_before - now)

    def _resume(self, sent: float) -> None:
        """The server took a request again, the first since it refused all."""
        since, dry = max(sent - self._first_refusal, 1e-3), self._last_refusal - self._first_refusal
        past = self._last_refusal - self._accepted[0]
        before = len(self._accepted) - 1
        per_window = before / max(1.0, past)
        if dry > _LONG / 2 and since > _LONG and before > 1:
            self._windowed = True
            self._cruise(min(self._rate, per_window) if self._sure else per_window, sure=past < 2 * _MEMORY)
        elif self._rate == inf and since > _LONG and before > 2 * _EARLY:
            self._cruise(per_window, sure=False)
        elif self._rate == inf:
            stray = self._taken > 2 * self._refused
            start = _SLOWEST_START
            if past >= _SPREAD and before > 2 * _EARLY:
                start, self._most = per_window / 4, max(before / past, 1 / since)
            self._rate, self._growth = max(1 / since, per_window if stray else start), _SEARCH
        if since > _LONG:
            self._accepted.clear()

    def _slow_down(self, now: float) -> None:
        # a bucket that overflowed while a long Retry-After passed says nothing of that time
        start = self._burst if self._not_before - self._burst < _LADDER else self._not_before
        between = (self._taken + 0.5) / max(now - start, 1e-3)
        if self._growth:
            if self._taken < max(_FEW, self._rate * self._round_trip):
                self._rate = max(self._rate / 2, min(self._rate / (1 + 2 * self._growth), between))
                return
            found = self._rate >= self._most
            self._rate = min(self._rate, between)
            self._growth /= 2
            if found or self._growth < _SEARCHED:
                self._cruise(self._rate, sure=False)
        elif self._taken >= _EARLY:
            self._early = False
            past = now - self._accepted[0] if self._accepted else 0.0
            took = min(self._rate, len(self._accepted) / past) if past >= 1 else self._rate
            # a bucket that was full took more than its rate for a while, and the rate was lower before: in between
            top = took if self._windowed else sqrt(took * self._rate)
            self._peak = max(self._peak, self._top)
            if top < _IN_VAIN * self._peak and not self._windowed and self._wait < _LADDER:
                top, self._peak = _FURTHER * self._peak, 0.0
            self._cruise(top, sure=self._windowed or took > 0.9 * self._rate)
        elif self._taken and not self._early:
            self._early = True
            self._top *= 1 - _MARGIN
            self._rate *= 1 - _MARGIN
        elif self._taken:  # nothing taken at all: a window of time is used up, which is no news of the rate
            self._windowed = self._sure = False
            self._peak = 0.0
            self._growth = _SEARCH_AGAIN
            self._rate = max(self._rate / 2, min(self._rate * 0.9, between))

    def _cruise(self, top: float, *, sure: bool) -> None:
        self._growth, self._steps, self._top, self._sure, self._most = 0.0, 0, top, sure, inf
        self._rate = top * (1 - _MARGIN)
        self._cycle = max(_LEAST_CYCLE, _CYCLE * top, 10 * self._wait * top) * (1 if sure else 0.25)
