"""Where a run stops by itself: what the user allows it to cost. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BYTES = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Failures:
    """How many rows may fail: so many, or so many of a hundred rows of the manifest."""

    count: float
    percent: bool = False

    def exceeded(self, failed: int, rows: int) -> bool:
        """Whether that many failed rows are too many."""
        return failed > (self.count * rows / 100 if self.percent else self.count)

    def __str__(self) -> str:
        return f"{self.count:g}{'%' if self.percent else ''}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits after which a run takes no more rows, and brings to an end what is in flight. None: no limit.

    Attributes:
        failures: more failed rows than that are too many.
        seconds: since the run began to send.
        requests: of all vendors together. What is in flight then may take a few more.
    """

    failures: Failures | None = None
    seconds: float | None = None
    requests: int | None = None

    def spent(self, *, failed: int, rows: int, seconds: float, requests: int) -> str | None:
        """Which limit is reached, in words; None: none is.

        Args:
            failed: rows that failed in this run.
            rows: of the manifest.
            seconds: since the run began to send.
            requests: sent in this run.
        """
        if self.failures is not None and self.failures.exceeded(failed, rows):
            return f"{failed} rows failed (--max-failures {self.failures})"
        if self.seconds is not None and seconds >= self.seconds:
            return f"{self.seconds:g} s are over (--max-duration)"
        if self.requests is not None and requests >= self.requests:
            return f"{requests} requests were sent (--max-requests {self.requests})"
        return None


def failures(value: str) -> Failures:
    """A number of rows, such as ``10``, or a share of the manifest's, such as ``2%``; raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", value)
    if found is None or (not found[2] and "." in found[1]):
        raise ValueError("must be a number of rows, such as 10, or a percentage, such as 2%")
    return Failures(float(found[1]), percent=bool(found[2]))


def size(value: str) -> int:
    """Bytes of a size such as ``1000``, ``64kB`` or ``256MiB``; raises ValueError."""
    found = re.fullmatch(r"(\d+)([kMG]B|[KMG]iB|)", value)
    if found is None:
        raise ValueError("must be a size such as 256MiB, 1GB or a number of bytes")
    return int(found[1]) * _BYTES[found[2]]


def duration(value: str) -> float:
    """Seconds of a time such as ``90``, ``90s``, ``15m``, ``2h`` or ``1h30m``; raises ValueError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", value)
    alone = len(parts) == 1
    if "".join(number + unit for number, unit in parts if unit or alone) != value or not parts:
        raise ValueError("must be a time such as 90s, 15m, 2h or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
