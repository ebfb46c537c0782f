"""Whether a server is there: a circuit breaker, pure. Time is passed in, in seconds of a monotonic clock."""

from __future__ import annotations

_TRIPS_AFTER = 8
"""Failures in a row, without any answer in between, that open it."""
_FIRST_PROBE = 0.5
_LONGEST_PROBE = 15.0


class Breaker:
    """Open while a server does not answer, or answers with 5xx only.

    While it is open, one request at a time goes out as a probe, ever more rarely; one good answer closes it.

    Attributes:
        opened_at: when it opened; None: it is closed.
    """

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self._failures = 0
        self._probe_at = 0.0
        self._pause = _FIRST_PROBE

    def succeeded(self) -> bool:
        """The server answered; True if it was down before that."""
        was_open = self.opened_at is not None
        self.opened_at, self._failures, self._pause = None, 0, _FIRST_PROBE
        return was_open

    def failed(self, now: float) -> bool:
        """A request failed; True if that opens it."""
        self._failures += 1
        if self.opened_at is not None or self._failures < _TRIPS_AFTER:
            return False
        self.opened_at = now
        self._probe_at = now + self._pause
        return True

    def wait(self, now: float) -> float:
        """Seconds until the next request may go out as a probe; 0 while the server is there."""
        return 0.0 if self.opened_at is None else max(0.0, self._probe_at - now)

    def probing(self, now: float) -> None:
        """A request goes out; while it is open, the next one waits longer."""
        if self.opened_at is not None:
            self._pause = min(2 * self._pause, _LONGEST_PROBE)
            self._probe_at = now + self._pause
