"""Ctrl-C and the like."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def interrupting(interrupt: Callable[[], None] | None) -> AsyncIterator[None]:
    """Call ``interrupt`` at each SIGINT and SIGTERM; once that is over the process only ends, and they are ignored."""
    if interrupt is None:
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
