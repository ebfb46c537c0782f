"""What the sandbox saw: requests, streams and transfers at once, leaked credentials, broken rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Gauge:
    """How many of a thing are there now, and how many there were at most."""

    def __init__(self) -> None:
        self.open = 0
        self.max = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one more for as long as the block runs."""
        self.open += 1
        self.max = max(self.max, self.open)
        try:
            yield
        finally:
            self.open -= 1


class Requests(Counter[tuple[str, str]]):
    """How often each step was requested, by ``(vendor, step)``, whatever came of it.

    ``streams`` gauges the SSE streams, ``puts`` the transfers to the object store.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams = Gauge()
        self.puts = Gauge()


class Record:
    """The sandbox's memory of its clients' conduct.

    ``leaks`` counts credentials sent to a signed URL. ``breaches`` has a line for each time a client broke a rule that
    its vendor's guide states; no line carries a URL's query or a credential.
    """

    def __init__(self) -> None:
        self.requests = Requests()
        self.leaks = 0
        self.breaches: list[str] = []

    def breach(self, vendor: str, step: str, what: str) -> None:
        """Note that a client broke a rule."""
        self.breaches.append(f"{vendor} {step}: {what}")

    def leak(self, vendor: str, step: str, what: str) -> None:
        """Note that a client sent a credential where it doesn't belong."""
        self.leaks += 1
        self.breach(vendor, step, what)
