"""The pipeline of a run, and its only task groups.

    ledger > plan (skip, group, chunk)                     one feeder per vendor, lazy
       | batches; the only queue is here, before init
    W workers:    preflight > mark > init > mark > transfer the bytes > mark        (`bulkup.lane.Lane.send`)
       | tickets
    F finishers:  follow the job > mark                                             (`bulkup.lane.Lane.confirm`)
       |
    1 ledger writer, in batches > events

Each vendor has its own lane, so that a slow one does not hold the others back. The first interrupt stops the feeders
and lets what is in flight end, the second cancels; the ledger is true in both cases, since each mark is written before
the step it promises.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

import anyio
from anyio.abc import ObjectReceiveStream

from bulkup import private
from bulkup.account import Account
from bulkup.api import Api
from bulkup.clock import Clock
from bulkup.errors import BulkupError
from bulkup.events import DocumentEnded, Event, Notice, Summary, Transferred
from bulkup.feed import LedgerReader, Spans, allow_for, everything, feed, reconcile
from bulkup.interrupts import interrupting
from bulkup.journal import Journal
from bulkup.lane import Lane
from bulkup.memory import Memory
from bulkup.model import State
from bulkup.plan import Batch
from bulkup.providers.base import Adapter
from bulkup.relay import Places
from bulkup.tasks import gather, plain_group, task_group, threads
from bulkup.terms import Terms
from bulkup.tools import Tools
from bulkup.track import Tracker
from bulkup.traffic import Traffic
from bulkup.transport import Transport
from bulkup.watch import Watch, Watched

_FILE_THREADS = 8
_LOOK_EVERY = 0.2
"""Seconds between two looks at what a run has cost so far, and at whether anything moves."""
_STOPPED_FOR = 5.0


class Asks(Enum):
    """What a run asks about that was left half-way before it sends anything."""

    NOTHING = auto()
    HALFWAY = auto()
    """What is not at an end."""
    ALL = auto()
    """Also what an earlier run ended as unknown, or as failed for good."""


@dataclass(frozen=True, slots=True)
class Part:
    """What of a run is carried out here; by default all of it.

    Attributes:
        asks: what is asked about first.
        spans: the rows, part by part.
        held: whether anything may be sent any more.
        duty: what else goes on meanwhile; it is cancelled at the end.
    """

    asks: Asks = Asks.ALL
    spans: Spans = everything
    held: Callable[[], bool] = lambda: True
    duty: Callable[[], Coroutine[Any, Any, None]] | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What a run is carried out with.

    Attributes:
        ledger: open, with the rows admitted.
        adapters: for each provider that the rows name.
        transport: open; carries requests.
        terms: what the user set.
        clock: time and chance.
    """

    ledger: LedgerReader
    adapters: Mapping[str, Adapter]
    transport: Transport
    terms: Terms
    clock: Clock


class Run:
    """Carries out a run over what was admitted to the ledger, or a part of one.

    Args:
        account: tells of it.
        means: what it is carried out with.
        part: of the run, where others carry out the rest.
    """

    def __init__(self, account: Account, means: Means, part: Part | None = None) -> None:
        self._account = account
        self._ledger = means.ledger
        self._adapters = means.adapters
        self._part = part or Part()
        self._watch = Watch()
        self._transport = Watched(means.transport, self._watch, self._part.held)
        self._terms = means.terms
        self._clock = means.clock
        self._lanes: list[Lane] = []
        self._interrupts = 0
        self._working = anyio.CancelScope()

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self._watch.requests

    def interrupt(self) -> None:
        """Once: take no more rows, finish what is in flight within the drain time. Twice: stop now."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._wind_down()
        else:
            self._working.cancel()

    def _wind_down(self) -> None:
        self._account.wind_down()
        self._working.deadline = anyio.current_time() + self._terms.drain
        for lane in self._lanes:
            lane.stop()

    async def run(self, *, signals: bool = False) -> Summary:
        """Carry out all of it, and say what became of each row.

        Args:
            signals: let SIGINT and SIGTERM interrupt it; for a process of its own.

        Raises:
            LedgerWriteError: the ledger can't be written any more; what was sent is reconciled by the next run.
        """
        with private.logs(private=self._terms.private_names):
            async with interrupting(self.interrupt if signals else None):
                hosts = {name: adapter.base_url for name, adapter in self._adapters.items()}
                await self._account.start(self._ledger, hosts)
                await self.carry_out()
                return await self._account.finish(self._ledger, interrupted=self._interrupts > 0)

    async def carry_out(self) -> None:
        """Carry out its part; raises as `run`."""
        with threads(_FILE_THREADS, "files") as files:
            journal = Journal(self._ledger.ledger, self._ledger.executor)
            tools = Tools(
                self._account.run_id,
                self._transport,
                journal,
                files,
                self._terms,
                self._clock,
                self._emit,
                self._watch,
                Memory(self._terms.memory),
                self._ledger.claimed,
            )
            try:
                async with task_group() as group:
                    group.start_soon(journal.run)
                    async with task_group() as guards:
                        guards.start_soon(self._guard)
                        if self._part.duty is not None:
                            guards.start_soon(self._part.duty)
                        with self._working:
                            await gather([partial(self._lane, adapter, tools) for adapter in self._adapters.values()])
                        guards.cancel_scope.cancel()
                    journal.close()
            except BaseExceptionGroup as errors:
                raise _first(errors) from None
            finally:
                for lane in self._lanes:  # whoever still hashes in a thread sees that nobody waits for it
                    lane.stop()

    async def _guard(self) -> None:
        """Hold the run to its time, and end one in which nothing moves any more."""
        while True:
            asleep = anyio.current_time()
            await anyio.sleep(_LOOK_EVERY)
            if anyio.current_time() - asleep > _STOPPED_FOR:
                self._watch.moved()  # the whole process stood still, by Ctrl-Z perhaps: nothing hangs in it
            self._count_costs()
            quiet = self._terms.longest_quiet + max((lane.settle for lane in self._lanes), default=0.0)
            if self._watch.quiet > quiet:
                self._emit(Notice(f"nothing has moved for {quiet:.0f} s, so the run ends: {self._watch.waiting()}"))
                self._working.cancel()
                return

    def _count_costs(self) -> None:
        """Stop at the user's limits."""
        if not self._interrupts and self._account.spent(self._watch.requests) is not None:
            self._wind_down()

    async def _lane(self, adapter: Adapter, tools: Tools) -> None:
        """One vendor's feeder, workers and finishers."""
        terms = self._terms
        api = Api(
            adapter,
            self._transport,
            limits=terms.limits,
            backoff=terms.backoff,
            clock=self._clock,
            tracker=Tracker(terms.following, terms.limits, self._clock),
            asking=anyio.Semaphore(terms.concurrency, fast_acquire=True),
            traffic=Traffic(adapter.name, terms, self._clock, self._emit),
        )
        async with plain_group() as start_finisher:
            places = Places(max(terms.transfers, terms.concurrency))
            lane = Lane(api, tools, places=places, start_soon=start_finisher)
            self._lanes.append(lane)
            if self._interrupts or self._account.limited:
                lane.stop()
            await allow_for(lane, tools, self._ledger)
            if self._part.asks is not Asks.NOTHING:
                await reconcile(lane, tools, self._ledger, ended=self._part.asks is Asks.ALL)
            sender, receiver = anyio.create_memory_object_stream[Batch](terms.concurrency)
            async with task_group() as workers:
                workers.start_soon(feed, lane, tools, self._ledger, self._part.spans, sender)
                for _ in range(terms.concurrency):
                    workers.start_soon(_work, lane, receiver.clone())
                receiver.close()

    def _emit(self, event: Event) -> None:
        self._account.emit(event)
        if isinstance(event, Transferred) or (isinstance(event, DocumentEnded) and event.state != State.COMPLETED):
            self._count_costs()


async def _work(lane: Lane, batches: ObjectReceiveStream[Batch]) -> None:
    async with batches:
        async for batch in batches:
            await lane.send(batch)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that matters of those that a task group raised together: ours before foreign ones."""
    found = [_first(error) if isinstance(error, BaseExceptionGroup) else error for error in errors.exceptions]
    return next((error for error in found if isinstance(error, BulkupError)), found[0])
