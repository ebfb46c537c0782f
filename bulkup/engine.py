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

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio.abc import ObjectReceiveStream

from bulkup import private
from bulkup.api import Api
from bulkup.clock import Clock
from bulkup.errors import BulkupError, DefectError
from bulkup.events import DocumentEnded, Event, Notice, RunStarted, Subscriber, Summary, Tally, Transferred
from bulkup.feed import LedgerReader, feed, reconcile
from bulkup.journal import Journal
from bulkup.lane import Lane
from bulkup.ledger import Ledger
from bulkup.memory import Memory
from bulkup.model import SKIPPED, State
from bulkup.plan import Batch
from bulkup.private import Masks
from bulkup.providers import PROVIDERS
from bulkup.providers.base import Adapter
from bulkup.relay import Places
from bulkup.tasks import gather, in_thread, plain_group, task_group, threads
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


class Run:
    """One run over what was admitted to the ledger.

    Args:
        run_id: as it was admitted.
        rows: how many rows the manifest's reader counted.
        ledger: open, with the rows admitted.
        ledger_thread: the one thread that touches it from now on.
        adapters: for each provider that the rows name.
        transport: open; carries requests.
        terms: what the user set.
        clock: time and chance.
        subscribers: are told of every event.
    """

    def __init__(
        self,
        run_id: str,
        rows: int,
        *,
        ledger: Ledger,
        ledger_thread: Executor,
        adapters: Mapping[str, Adapter],
        transport: Transport,
        terms: Terms,
        clock: Clock,
        subscribers: Sequence[Subscriber],
    ) -> None:
        self._run_id = run_id
        self._rows = rows
        self._ledger = ledger
        self._ledger_thread = ledger_thread
        self._adapters = adapters
        self._watch = Watch()
        self._transport = Watched(transport, self._watch)
        self._terms = terms
        self._clock = clock
        self._tally = Tally()
        self._masked: Callable[[Event], Event] = lambda event: event
        self._subscribers: tuple[Subscriber, ...] = tuple(subscribers)
        self._lanes: list[Lane] = []
        self._interrupts = 0
        self._limited = False
        self._began = clock.monotonic()
        self._working = anyio.CancelScope()

    def interrupt(self) -> None:
        """Once: take no more rows, finish what is in flight within the drain time. Twice: stop now."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._wind_down()
        else:
            self._working.cancel()

    def _wind_down(self) -> None:
        self._emit(Notice(f"stopping: finishing what is in flight, {self._terms.drain:g} s at most"))
        self._working.deadline = anyio.current_time() + self._terms.drain
        for lane in self._lanes:
            lane.stop()

    async def run(self, *, signals: bool = False) -> Summary:
        """Carry it out.

        Args:
            signals: let SIGINT and SIGTERM interrupt it; for a process of its own.

        Raises:
            LedgerWriteError: the ledger can't be written any more; what was sent is reconciled by the next run.
        """
        with private.logs(private=self._terms.private_names):
            async with _listening(self.interrupt if signals else None):
                return await self._run()

    async def _run(self) -> Summary:
        hosts = {name: adapter.base_url for name, adapter in self._adapters.items()}
        self._emit(RunStarted(self._run_id, self._rows, self._ledger.name, hosts, self._terms.shard_name))
        with threads(_FILE_THREADS, "files") as files:
            journal = Journal(self._ledger, self._ledger_thread)
            ledger = LedgerReader(self._ledger, self._ledger_thread)
            if self._terms.private_names:
                self._masked = Masks(await in_thread(self._ledger_thread, self._ledger.secret), PROVIDERS)
            for row in await ledger.invalid(self._run_id):
                self._emit(row)
            tools = Tools(
                self._run_id,
                self._transport,
                journal,
                files,
                self._terms,
                self._clock,
                self._emit,
                self._watch,
                Memory(self._terms.memory),
                ledger.claimed,
            )
            try:
                async with task_group() as group:
                    group.start_soon(journal.run)
                    async with task_group() as guards:
                        guards.start_soon(self._guard)
                        with self._working:
                            await gather(
                                [partial(self._lane, adapter, tools, ledger) for adapter in self._adapters.values()]
                            )
                        guards.cancel_scope.cancel()
                    journal.close()
            except BaseExceptionGroup as errors:
                raise _first(errors) from None
            finally:
                for lane in self._lanes:  # whoever still hashes in a thread sees that nobody waits for it
                    lane.stop()
            return await in_thread(self._ledger_thread, self._summarise, self._clock.monotonic() - self._began)

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
        if self._limited or self._interrupts:
            return
        spent = self._terms.budget.spent(
            failed=self._tally.failures,
            rows=self._rows,
            seconds=self._clock.monotonic() - self._began,
            requests=self._watch.requests,
        )
        if spent is not None:
            self._limited = True
            self._emit(Notice(f"stopped, no more rows are taken: {spent}"))
            self._wind_down()

    async def _lane(self, adapter: Adapter, tools: Tools, ledger: LedgerReader) -> None:
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
            if self._interrupts or self._limited:
                lane.stop()
            await reconcile(lane, tools, ledger)
            sender, receiver = anyio.create_memory_object_stream[Batch](terms.concurrency)
            async with task_group() as workers:
                workers.start_soon(feed, lane, tools, ledger, sender)
                for _ in range(terms.concurrency):
                    workers.start_soon(_work, lane, receiver.clone())
                receiver.close()

    def _emit(self, event: Event) -> None:
        self._tally(event)
        told = self._masked(event)
        for subscriber in self._subscribers:
            subscriber(told)
        if isinstance(event, Transferred) or (isinstance(event, DocumentEnded) and event.state != State.COMPLETED):
            self._count_costs()

    def _summarise(self, seconds: float) -> Summary:
        """Count twice: what the ledger holds has to be what the manifest's reader counted."""
        states = self._ledger.states(self._run_id)
        summary = Summary(
            run_id=self._run_id,
            rows=self._rows,
            completed=states.get(State.COMPLETED, 0),
            failed=states.get(State.FAILED, 0),
            skipped=states.get(SKIPPED, 0),
            unknown=states.get(State.UNKNOWN, 0),
            pending=sum(states.get(state, 0) for state in (State.PENDING, State.INITIATED, State.STORED)),
            bytes=self._tally.bytes,
            seconds=round(seconds, 3),
            interrupted=self._interrupts > 0,
            limited=self._limited,
            shard=self._terms.shard_name,
        )
        self._ledger.finish_run(self._run_id, self._clock.stamp(), summary.facts())
        if not summary.adds_up:
            raise DefectError(f"the count does not add up, please report this: {summary}")
        self._emit(summary)
        return summary


async def _work(lane: Lane, batches: ObjectReceiveStream[Batch]) -> None:
    async with batches:
        async for batch in batches:
            await lane.send(batch)


@asynccontextmanager
async def _listening(interrupt: Callable[[], None] | None) -> AsyncIterator[None]:
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


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that matters of those that a task group raised together: ours before foreign ones."""
    found = [_first(error) if isinstance(error, BaseExceptionGroup) else error for error in errors.exceptions]
    return next((error for error in found if isinstance(error, BulkupError)), found[0])
