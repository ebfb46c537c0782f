"""One "not before" per vendor: a Retry-After that one worker was given holds for all of them."""

from __future__ import annotations

from bulkup.clock import Clock
from bulkup.errors import StepError
from bulkup.model import Failure


class Pacer:
    """Lets requests pass, unless the server asked everybody to wait.

    Args:
        clock: time.
        patience: the longest wait, in seconds; a server that asks for more is not waited for.
    """

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self._not_before = 0.0

    def hold(self, seconds: float | None) -> None:
        """The server asked to wait for so many seconds; None: it did not ask."""
        if seconds is not None:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    async def turn(self) -> None:
        """Wait until the next request may go out.

        Raises:
            StepError: ``rate_limited``, if that is too long.
        """
        while (wait := self._not_before - self._clock.monotonic()) > 0:
            if wait > self._patience:
                text = f"the server asked to wait {wait:.0f} s more, which is longer than --retry-for"
                raise StepError(Failure("rate_limited", text, sent=False, retry_after=wait))
            await self._clock.sleep(wait)
