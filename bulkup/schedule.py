"""When to try again: pure calculations. The caller brings the clock, the dice and the patience."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LARGEST_EXPONENT = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter, limited in time.

    Attributes:
        first: the longest first wait, in seconds.
        longest: the longest wait of all, in seconds.
        patience: how long one step may be retried, in seconds from its first failure.
    """

    first: float = 0.25
    longest: float = 20.0
    patience: float = 60.0

    def wait(self, attempt: int, elapsed: float, dice: float, retry_after: float | None = None) -> float | None:
        """Seconds to wait before the next attempt, or None when the patience is over.

        Args:
            attempt: how many attempts were made so far, at least 1.
            elapsed: seconds since the first failure.
            dice: a random number in [0, 1).
            retry_after: what the server asked for, in seconds; never undercut.
        """
        ceiling = min(self.longest, self.first * 2 ** min(attempt - 1, _LARGEST_EXPONENT))
        wait = ceiling * (0.5 + dice / 2)
        if retry_after is not None:
            wait = retry_after + self.first * dice
        return wait if elapsed + wait <= self.patience else None


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a ``Retry-After`` header: a number of seconds or an HTTP date (RFC 9110, 10.2.3); None if neither.

    Args:
        value: the header's value.
        now: the present, for the date form.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (OverflowError, ValueError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def until(moment: str | None, date: str | None) -> float | None:
    """Seconds from an answer's ``Date`` header to a Unix time, both by the server's clock; None if either is missing.

    Args:
        moment: the Unix time, in seconds.
        date: the header's value.
    """
    try:
        return max(0.0, float(moment or "") - parsedate_to_datetime(date or "").timestamp())
    except (OverflowError, ValueError):
        return None
