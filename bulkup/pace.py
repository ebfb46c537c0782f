"""One "not before" per vendor: a Retry-After that one worker was given holds for all of them."""

from __future__ import annotations

from bulkup.clock import Clock


class Pacer:
    """Lets requests pass, unless the vendor asked everybody to wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._not_before = 0.0

    def hold(self, seconds: float | None) -> None:
        """The vendor asked to wait for so many seconds; None: it did not ask."""
        if seconds is not None:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    async def turn(self) -> None:
        """Wait until the next request may go out."""
        while (wait := self._not_before - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)
