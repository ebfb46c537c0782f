"""The coordinator of a run that several workers carry out together.

First it asks, alone, what earlier runs left half-way. Then it cuts the plan into shards, which the workers claim one
after the other. What a worker that was lost has left is seen to at the end, by the coordinator and again alone: so
nobody else sends anything while it asks the vendor what became of a row.

All that it knows of the workers it reads in the ledger: so it makes no difference where they are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from bulkup import private
from bulkup.account import Account
from bulkup.announce import leaves_records
from bulkup.engine import Asks, Means, Part, Run
from bulkup.events import Notice, Summary, Transferred
from bulkup.feed import ended
from bulkup.interrupts import interrupting
from bulkup.ledger import Leases, Order, Span, Worker
from bulkup.model import State
from bulkup.tasks import in_thread
from bulkup.worker import Assignment

T = TypeVar("T")

_SHARDS_EACH = 16
"""So many shards a worker gets, at least: the last ones end at about the same time."""
_FEWEST, _MOST = 25, 2000
"""Rows of a shard; a multiple of the fewest, so that inits are full."""
_LOOK_EVERY = 0.25
"""Seconds between two looks at the workers."""
_TELL_EVERY = 1.0
"""Seconds between two looks at what became of rows, at least; and so many times what a look takes:"""
_TELL_SELDOM = 10
_REPLACED = 3
"""How many of each worker's successors are started."""


class Crew(Protocol):
    """Where workers are started."""

    async def start(self, assignment: Assignment) -> str:
        """Have one more worker, soon; gives the name that it will have."""

    def kill(self, names: Collection[str]) -> None:
        """End workers that stand still, where that can be done from here."""

    def gone(self, registered: Collection[str]) -> frozenset[str]:
        """The names of those that surely are no more, since the last time; told which the ledger knows."""

    def alive(self) -> frozenset[str]:
        """The names of those that may be there."""

    def close(self) -> frozenset[str]:
        """Have no more workers, whatever they are at; gives the names of those that surely are no more."""


class Fleet:
    """Carries out a run by several workers.

    Args:
        account: tells of it, of each row once.
        means: what it is carried out with; the terms are for all workers together.
        crew: where workers are started.
        pattern: what an assignment is made of.
        count: how many workers there are at a time.
    """

    def __init__(self, account: Account, means: Means, *, crew: Crew, pattern: Assignment, count: int) -> None:
        self._account = account
        self._means = means
        self._ledger = means.ledger
        self._adapters = means.adapters
        self._terms = means.terms
        self._clock = means.clock
        self._crew = crew
        self._pattern = pattern
        self._count = count
        self._leases = Leases(means.ledger.ledger, account.run_id)
        self._order = Order.GO_ON
        self._alone: Run | None = None
        self._heard = 0
        self._said: set[str] = set()
        self._whole: set[Span] = set()
        self._tell_at = 0.0

    def interrupt(self) -> None:
        """See `Run.interrupt`."""
        self._order = Order(min(self._order + 1, Order.STOP))
        if self._alone is not None:
            self._alone.interrupt()
        elif self._order is Order.WIND_DOWN:
            self._account.wind_down()

    async def run(self, *, signals: bool = False) -> Summary:
        """See `Run.run`."""
        with private.logs(private=self._terms.private_names):
            async with interrupting(self.interrupt if signals else None):
                hosts = {provider: adapter.base_url for provider, adapter in self._adapters.items()}
                await self._account.start(self._ledger, hosts)
                await self._carry_out(Asks.ALL, [])
                try:
                    await self._together()
                finally:
                    gone = self._crew.close()
                await self._ask(partial(self._leases.dismiss, gone))
                await self._clock.sleep(await self._ask(self._leases.lapse))
                await self._tell()
                self._count_costs()
                await self._tell(earlier=True)
                if self._order is Order.GO_ON and not self._account.limited:
                    await self._carry_out(Asks.HALFWAY, await self._ask(self._leases.left))
                await self._ask(self._leases.clear)
                return await self._account.finish(self._ledger, interrupted=self._order > Order.GO_ON)

    async def _carry_out(self, asks: Asks, spans: Sequence[tuple[str, Span]]) -> None:
        """What the coordinator does alone."""

        async def listed(provider: str) -> AsyncGenerator[Span, None]:
            for theirs, span in spans:
                if theirs == provider:
                    yield span

        self._alone = run = Run(self._account, self._means, Part(asks, listed))
        for _ in range(self._order):
            run.interrupt()
        await run.carry_out()
        self._alone = None
        self._account.requests += run.requests

    # --- the workers --------------------------------------------------------------------------------------------

    async def _together(self) -> None:
        """Have workers carry out the run until no shard is left, or none of them."""
        whole = {provider: leaves_records(adapter) for provider, adapter in self._adapters.items()}
        rows = self._account.rows // (self._count * _SHARDS_EACH)
        rows = min(max(rows - rows % _FEWEST, _FEWEST), _MOST)
        shards = await self._ask(lambda: self._leases.cut(rows, whole))
        count = min(self._count, shards)
        shares = self._terms.shared(max(1, count))
        names: dict[str, int] = {}
        free = list(range(count))
        replaced, told, before = _REPLACED * count, Order.GO_ON, self._account.requests
        give_up = float("inf")
        while True:
            while free and self._order is Order.GO_ON and not self._account.limited:
                index = free.pop()
                names[await self._crew.start(replace(self._pattern, terms=shares[index]))] = index
            await self._clock.sleep(_LOOK_EVERY)
            team = await self._team()
            self._crew.kill([worker.name for worker in team if worker.silent])  # before anything is written
            gone = self._crew.gone([worker.name for worker in team])
            await self._ask(partial(self._leases.expire, gone))
            team = await self._team()
            await self._listen(team, before)
            over = gone | {worker.name for worker in team if worker.ended}
            lost = (gone - {worker.name for worker in team}) | {worker.name for worker in team if worker.lost}
            left = await self._ask(self._leases.free)
            for worker in lost & names.keys():
                index = names.pop(worker)
                self._account.emit(Notice(f"a worker was lost ({worker}); what it left half-way is seen to at the end"))
                if left and replaced:
                    replaced -= 1
                    free.append(index)
            if told is not self._wanted():
                told = self._wanted()
                free.clear()
                await self._ask(partial(self._leases.close, told))
                give_up = self._clock.monotonic() + self._patience(told)
            if not (free or self._crew.alive() - over) or self._clock.monotonic() > give_up:
                return

    def _wanted(self) -> Order:
        return max(self._order, Order.WIND_DOWN) if self._account.limited else self._order

    def _patience(self, order: Order) -> float:
        """Seconds that workers have to end once they were told to."""
        return (self._terms.drain if order is Order.WIND_DOWN else 0.0) + self._pattern.lease

    async def _listen(self, team: Sequence[Worker], before: int) -> None:
        """Tell what workers say and did, and look whether that is more than the user allows."""
        for number, text, gist in await self._ask(partial(self._leases.heard, self._heard)):
            self._heard = number
            if text not in self._said:  # each of them finds out by itself that a vendor is down
                self._said.add(text)
                self._account.emit(Notice(text, gist))
        self._account.requests = before + sum(worker.requests for worker in team)
        now = self._clock.monotonic()
        if now >= self._tell_at:
            await self._tell()
            self._tell_at = now + max(_TELL_EVERY, _TELL_SELDOM * (self._clock.monotonic() - now))
        self._count_costs()

    def _count_costs(self) -> None:
        """Stop at the user's limits."""
        if self._order is Order.GO_ON and self._account.spent(0) is not None:
            self._account.wind_down()

    async def _tell(self, *, earlier: bool = False) -> None:
        """Tell how rows ended, as the ledger has it.

        Args:
            earlier: not of what this run brought to an end by now, but of what earlier runs did.
        """
        for provider, span in await self._ask(self._leases.claimed):
            if span in self._whole and not earlier:
                continue
            rows, open_ = await self._ask(partial(self._leases.ended, provider, span, earlier=earlier))
            for row in rows:
                event = ended(row, self._account.run_id)
                if event.state == State.COMPLETED and not self._account.knows(event.row):
                    self._account.emit(Transferred(event.bytes))
                self._account.emit(event)
            if not open_:
                self._whole.add(span)

    async def _team(self) -> list[Worker]:
        return await self._ask(self._leases.team)

    async def _ask(self, question: Callable[[], T]) -> T:
        return await in_thread(self._ledger.executor, question)
