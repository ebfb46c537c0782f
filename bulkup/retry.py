"""One step, tried again while it is allowed and while there is patience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bulkup.clock import Clock
from bulkup.errors import StepError
from bulkup.model import Again, Failure
from bulkup.schedule import Backoff

T = TypeVar("T")


def same_again(failure: Failure) -> bool:
    """The plain rule: what may be sent again is sent again."""
    return failure.again is Again.SAME


async def retrying(
    step: Callable[[], Awaitable[T]],
    backoff: Backoff,
    clock: Clock,
    allowed: Callable[[Failure], bool] = same_again,
) -> T:
    """Carry out ``step`` until it succeeds.

    Args:
        step: one attempt; raises `StepError`.
        backoff: how long to wait between attempts, and for how long to go on.
        clock: time and chance.
        allowed: whether a failure may be followed by another attempt.

    Raises:
        StepError: the last attempt's failure.
    """
    failed_first: float | None = None  # an attempt may take long; patience is for what comes after its failure
    attempt = 0
    while True:
        attempt += 1
        try:
            return await step()
        except StepError as error:
            if not allowed(error.failure):
                raise
            now = clock.monotonic()
            failed_first = now if failed_first is None else failed_first
            wait = backoff.wait(attempt, now - failed_first, clock.dice(), error.failure.retry_after)
            if wait is None:
                raise
        await clock.sleep(wait)
