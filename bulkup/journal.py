"""The one writer of the ledger while a run goes on: what many tasks mark at a time becomes one transaction."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

import anyio

from bulkup.ledger import Ledger, Mark
from bulkup.tasks import in_thread


class Journal:
    """Collects marks and writes them in batches.

    Args:
        ledger: where to.
        executor: the one thread that touches the ledger.
    """

    def __init__(self, ledger: Ledger, executor: Executor) -> None:
        self._ledger = ledger
        self._executor = executor
        self._waiting: list[Mark] = []
        self._written = asyncio.Event()
        self._work = asyncio.Event()
        self._closing = False

    def record(self, *marks: Mark) -> asyncio.Event:
        """Have marks written soon; the event is set when they are durable."""
        self._waiting += marks
        self._work.set()
        return self._written

    async def commit(self, *marks: Mark) -> None:
        """Have marks written, and wait until they are durable."""
        await self.record(*marks).wait()

    def close(self) -> None:
        """Nothing more comes: `run` ends when all is written."""
        self._closing = True
        self._work.set()

    async def run(self) -> None:
        """Write until closed.

        Raises:
            LedgerWriteError: the ledger can't be written any more.
        """
        while not (self._closing and not self._waiting):
            await self._work.wait()
            self._work = asyncio.Event()
            marks, self._waiting = self._waiting, []
            written, self._written = self._written, asyncio.Event()
            if marks:
                with anyio.CancelScope(shield=True):
                    await in_thread(self._executor, self._ledger.write, marks)
            written.set()
