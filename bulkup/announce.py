"""The init of a batch, sent until it is answered.

`Initiated` is durable before an init is sent, `Answered` before a byte follows. Where an init whose answer was lost
may have left a record, the vendor is asked for it before the next one is sent: a record that still takes the bytes is
used, one that does not is put away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from bulkup.api import Api, Dated
from bulkup.decide import ambiguous, init_again, wants_fallback
from bulkup.door import Doors
from bulkup.errors import StepError
from bulkup.events import Notice
from bulkup.ledger import Answered, Fate, GivenUp, Initiated, Reset
from bulkup.model import Failure, Ticket
from bulkup.plan import Batch
from bulkup.providers.base import Abandoner, Adapter, Finder, Found, Outgoing, Resumable, Trace, able
from bulkup.retry import retrying
from bulkup.tools import Tools

_TWICE = 2


@dataclass(frozen=True, slots=True)
class Announced:
    """An init that was answered.

    Attributes:
        asked: when it was sent, by the monotonic clock; the URLs' lives run from there.
        resumed: it was an earlier one, whose record takes the bytes now.
    """

    ticket: Ticket
    asked: float
    resumed: bool


@dataclass(frozen=True, slots=True)
class Unannounced:
    """An init that was not answered well.

    Attributes:
        unavailable: the answers point to the vendor's other flow.
        lost: one of the answers was lost, so that there may be a record of it.
    """

    failure: Failure
    unavailable: bool
    lost: bool


class Announcer:
    """Sends the inits of one lane.

    Args:
        tools: the run's.
        stopped: no init is repeated any more.
    """

    def __init__(self, tools: Tools, stopped: Callable[[], bool]) -> None:
        self._tools = tools
        self._stopped = stopped
        self._doors = Doors()

    async def announce(self, api: Api, batch: Batch, outgoing: Sequence[Outgoing]) -> Announced | Unannounced:
        """Announce a batch."""
        at, run_id, flow = self._tools.clock.stamp(), self._tools.run_id, api.adapter.flow
        await self._tools.journal.commit(*[Initiated(o.document.id, run_id, at, flow, o.content) for o in outgoing])
        work = _Init(api, batch, outgoing, at, self._tools, self._doors)

        def allowed(failure: Failure) -> bool:
            work.unavailable += wants_fallback(failure, api.adapter.traits)
            again = init_again(failure, api.adapter.traits)
            return again and not self._stopped() and work.unavailable < _TWICE

        try:
            return await retrying(work.once, self._tools.terms.backoff, self._tools.clock, allowed)
        except StepError as error:
            return Unannounced(error.failure, work.unavailable >= _TWICE, work.lost)
        except BaseException:  # cancelled
            if not work.may_be_there:
                self._tools.journal.record(*(Reset(o.document.id, run_id) for o in outgoing))
            raise


class _Init:
    """The attempts of one init.

    Attributes:
        unavailable: how many answers pointed to the vendor's other flow.
        lost: an answer was lost, and nobody looked since what became of it.
    """

    def __init__(
        self, api: Api, batch: Batch, outgoing: Sequence[Outgoing], at: str, tools: Tools, doors: Doors
    ) -> None:
        self._api = api
        self._outgoing = outgoing
        self._since = "" if batch.orphans else at  # an init that an earlier run lost was sent before
        self._tools = tools
        self._doors = doors
        self._orphans = {id_: orphan for id_, orphan in batch.orphans.items() if orphan}
        self._looks = leaves_records(api.adapter)
        self._sent: Dated | None = None
        self.unavailable = 0
        self.lost = self._looks and len(self._orphans) < len(batch.orphans)

    @property
    def may_be_there(self) -> bool:
        """Whether the vendor may have made a record: else the row was not announced, whatever was marked before."""
        return self.lost or bool(self._orphans) or (self._sent is not None and self._sent.left)

    async def once(self) -> Announced:
        """One attempt."""
        if self.lost and self._looks:
            await self._look()
        return await self._resume() or await self._init()

    async def _init(self) -> Announced:
        await self._put_away()
        async with self._passing():
            self._sent = api = Dated(self._api, self._tools.clock)
            try:
                ticket = await self._api.adapter.init(api, self._outgoing)
            except StepError as error:
                if ambiguous(error.failure):
                    self.lost = True
                    await self._leave()
                self._sent = None
                raise
            await self._tools.journal.commit(
                *[
                    Answered(o.document.id, ticket.job_id, remote_id, self._orphans.get(o.document.id))
                    for o, remote_id in zip(self._outgoing, ticket.remote_ids, strict=True)
                ]
            )
        return Announced(ticket, api.sent, resumed=False)

    async def _leave(self) -> None:
        """Note records as left beside which an init was lost: the next look is for what that one made."""
        if self._orphans:
            await self._tools.journal.commit(
                *(GivenUp(id_, orphan, Fate.LEFT) for id_, orphan in self._orphans.items())
            )
            self._orphans.clear()

    async def _resume(self) -> Announced | None:
        adapter = self._api.adapter
        if not able(adapter, Resumable) or not self._orphans:
            return None
        (outgoing,) = self._outgoing
        remote_id = self._orphans[outgoing.document.id]
        await self._tools.journal.commit(Answered(outgoing.document.id, None, remote_id))
        ticket = adapter.resume(outgoing, remote_id)
        return Announced(ticket, self._tools.clock.monotonic(), resumed=True)

    async def _look(self) -> None:
        """Find the record of an init whose answer was lost. Nobody else's init may be under way at that time."""
        adapter = self._api.adapter
        assert able(adapter, Finder)  # noqa: S101 - see `leaves_records`
        outgoing = [o for o in self._outgoing if o.document.id not in self._orphans]
        first = outgoing[0].document
        async with self._doors.alone(first.target):
            claimed = await self._tools.claimed(first.provider, first.target)
            try:
                found = await adapter.find(self._api, [Trace(o, self._since) for o in outgoing], claimed)
            except StepError as error:
                if not error.failure.final:
                    raise
                found = [None] * len(outgoing)
            for o, record in zip(outgoing, found, strict=True):
                if isinstance(record, Found) and record.arrived is False:
                    self._orphans[o.document.id] = record.remote_id
            self.lost = False
            if able(adapter, Resumable):
                await self._tools.journal.commit(
                    *(Answered(id_, None, orphan) for id_, orphan in self._orphans.items())
                )
            await self._put_away()

    async def _put_away(self) -> None:
        """Have records put away whose bytes will never come, where the vendor has a way."""
        adapter = self._api.adapter
        if not able(adapter, Abandoner):
            return
        for outgoing in self._outgoing:
            orphan = self._orphans.get(outgoing.document.id)
            if orphan is None:
                continue
            try:
                await adapter.abandon(self._api, outgoing, orphan)
            except StepError as error:
                text = f"{adapter.name}: the record {orphan}, which got no bytes, can't be put away"
                self._tools.emit(Notice(f"{text}: {error.failure.text}", f"{text}: {error.failure.code}"))
                continue
            self._tools.journal.record(GivenUp(outgoing.document.id, orphan, Fate.ARCHIVED))
            del self._orphans[outgoing.document.id]

    def _passing(self) -> AbstractAsyncContextManager[None]:
        return self._doors.passing(self._outgoing[0].document.target) if self._looks else _nothing()


def leaves_records(adapter: Adapter) -> bool:
    """Whether the record of an init whose answer was lost is asked for, to be used, put away, or noted as left."""
    traits = adapter.traits
    return able(adapter, Finder) and traits.repeatable_init and not traits.init_leaves_nothing


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
