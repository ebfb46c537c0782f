"""What an earlier run left half-way is asked about first: only what the vendor does not have is sent again.

A document is sent again only on a positive word of the vendor: its job still waits for files after the settle time,
its job is not known and no list has the document, or the vendor's init leaves nothing behind. Silence is no word: what
can't be asked about now stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby

import anyio

from bulkup.api import Api
from bulkup.errors import StepError
from bulkup.lane import JOB_TIMEOUT, InFlight, Lane
from bulkup.ledger import Answered, Leftover, Reset, Stored
from bulkup.model import Failure, Receipt, Stage, State, Ticket
from bulkup.providers.base import Fallback, Finder, Found, Outgoing, Trace, able
from bulkup.sources import Sources
from bulkup.tasks import in_thread
from bulkup.tools import Tools
from bulkup.track import JOB_OPEN

_REFUSALS = frozenset({"store_refused", "rejected", "forbidden", "conflict", "too_large", "not_uploaded"})
"""Codes of a transfer that surely left nothing."""


def groups(leftovers: Sequence[Leftover]) -> list[list[Leftover]]:
    """Leftovers, as the ledger orders them, that one question answers: of one job, or else of one target and flow."""

    def question(leftover: Leftover) -> tuple[str, str, str]:
        return (leftover.job_id or "", leftover.document.target, leftover.flow)

    return [list(members) for _, members in groupby(leftovers, key=question)]


class Reconciler:
    """Settles leftovers of one lane.

    Args:
        lane: whose outcomes and API are used.
        tools: the run's.
    """

    def __init__(self, lane: Lane, tools: Tools) -> None:
        self._lane = lane
        self._tools = tools
        self._apis: dict[str, Api] = {}
        self._listing: dict[str, anyio.Lock] = defaultdict(anyio.Lock)

    async def settle(self, group: Sequence[Leftover]) -> None:
        """Bring one group to an end, or back to pending; what can't be asked about now stays as it is."""
        for leftover in group:
            if leftover.state is State.FAILED:
                advice = f"not repeated by itself: bulkup retry {leftover.document.key}"
                self._lane.outcomes.repeat(leftover, advice)
        group = [leftover for leftover in group if leftover.state is not State.FAILED]
        if not group or self._lane.stopped:
            return
        api = self._api(group[0].flow)
        try:
            if group[0].job_id is not None:
                await self._by_job(api, group)
            else:
                await self._by_listing(api, group)
        except StepError as error:
            if not error.failure.final:
                self._lane.postpone(len(group), error.failure)
                return
            # a vendor that will not tell leaves what was known: a row whose bytes were refused is to be sent
            refused = [left for left in group if left.state is State.INITIATED and left.error_code in _REFUSALS]
            await self._send_again(refused)
            await self._undecided([left for left in group if left not in refused], error.failure)

    def _api(self, flow: str) -> Api:
        adapter = self._lane.api.adapter
        if not flow or adapter.flow == flow or not able(adapter, Fallback):
            return self._lane.api
        if flow not in self._apis:
            self._apis[flow] = self._lane.api.with_adapter(adapter.fallback())
        return self._apis[flow]

    async def _by_job(self, api: Api, group: Sequence[Leftover]) -> None:
        """The job tells. One whose bytes may have landed unnoticed gets some time to complete by itself."""
        states = {leftover.state for leftover in group}
        outgoing = tuple(Outgoing(leftover.document, leftover.content) for leftover in group)
        flying = InFlight(
            api, outgoing, Ticket(group[0].job_id, tuple(leftover.document_id for leftover in group), ()), {}
        )
        if states == {State.STORED}:
            answer = await self._lane.ask(flying, self._tools.terms.job_timeout)
        else:
            answer = await self._lane.probe(flying, self._on_its_way(group))
        if not isinstance(answer, Failure):
            await self._lane.outcomes.conclude(outgoing, answer)
        elif answer.code == "not_found":
            await self._by_listing(api, group)
        elif answer.code == JOB_OPEN and State.INITIATED in states:
            await self._send_again(group)
        elif answer.code in {JOB_OPEN, JOB_TIMEOUT}:
            await self._undecided(group, replace(answer, code=JOB_TIMEOUT))
        else:
            raise StepError(answer)

    async def _by_listing(self, api: Api, group: Sequence[Leftover]) -> None:
        """The vendor's lists tell; what is known to be stored needs no question but what follows that."""
        adapter = api.adapter
        stored = [left for left in group if left.state is State.STORED and left.document_id is not None]
        for leftover in stored:
            await self._go_on(api, Outgoing(leftover.document, leftover.content), leftover.document_id)
        group = [left for left in group if left not in stored]
        if not group:
            return
        if group[0].job_id is None and adapter.traits.init_leaves_nothing:
            await self._send_again(group)
            return
        if not able(adapter, Finder):
            await self._undecided(group, Failure("no_answer", "the vendor can't be asked what became of it"))
            return
        await self._tools.clock.sleep(self._on_its_way(group))
        first = group[0].document
        async with self._listing[first.target]:
            traces = [Trace(await self._measured(api, left), left.initiated_at, left.document_id) for left in group]
            found = await adapter.find(api, traces, await self._tools.claimed(first.provider, first.target))
            await self._conclude(api, group, traces, found)
        # bytes that were answered for are not sent again for the sake of a list, where that would be noticed
        doubtful = {State.UNKNOWN} if adapter.traits.repeatable_init else {State.UNKNOWN, State.STORED}
        gone = [left for left, there in zip(group, found, strict=True) if there is None or _waits(there)]
        await self._send_again([left for left in gone if left.state not in doubtful])
        lost = Failure("no_answer", "the vendor does not list the document that its answer promised or left open")
        await self._undecided([left for left in gone if left.state in doubtful], lost)

    def _on_its_way(self, group: Sequence[Leftover]) -> float:
        """Seconds in which a document may still find its way into the vendor's list."""
        now = datetime.fromtimestamp(self._tools.clock.wall(), UTC)
        waits = [
            self._lane.settle - (now - datetime.fromisoformat(left.ended_at)).total_seconds()
            if left.ended_at
            else self._lane.settle
            for left in group
            if left.state is State.INITIATED
        ]
        return min(max([0.0, *waits]), self._lane.settle)

    async def _conclude(
        self,
        api: Api,
        group: Sequence[Leftover],
        traces: Sequence[Trace],
        found: Sequence[Receipt | Found | None],
    ) -> None:
        """Bring to an end what the vendor could tell."""
        told: list[tuple[Outgoing, Receipt]] = []
        for leftover, trace, there in zip(group, traces, found, strict=True):
            if isinstance(there, Found):
                if there.remote_id != leftover.document_id:
                    await self._tools.journal.commit(Answered(leftover.document.id, None, there.remote_id))
                if there.arrived:
                    at = self._tools.clock.stamp()
                    self._tools.journal.record(Stored(leftover.document.id, at, trace.outgoing.content))
                    await self._go_on(api, trace.outgoing, there.remote_id)
                elif there.arrived is None:
                    words = f"nothing tells whether the vendor's record {there.remote_id} has its bytes"
                    await self._undecided([leftover], Failure("no_answer", words), Stage.TRANSFER)
            elif isinstance(there, Receipt) and not there.known and there.failure is not None:
                await self._undecided([leftover], there.failure, there.stage)
            elif isinstance(there, Receipt):
                told.append((trace.outgoing, there))
        await self._lane.outcomes.conclude([outgoing for outgoing, _ in told], [receipt for _, receipt in told])

    async def _go_on(self, api: Api, outgoing: Outgoing, document_id: str | None) -> None:
        """Do what follows the transfer, for a document whose bytes are stored."""
        await self._lane.settled(InFlight(api, (outgoing,), Ticket(None, (document_id,), ()), {}))

    async def _measured(self, api: Api, leftover: Leftover) -> Outgoing:
        """What was sent, with the hashes that the vendor's proof needs, if the file is still the same."""
        known = leftover.content
        path, terms = leftover.document.path, self._tools.terms
        sources = Sources(terms.buckets, terms.root)
        missing = [name for name in sorted(api.adapter.traits.digests) if getattr(known, name) is None]
        if missing:
            (now,) = await in_thread(self._tools.files, sources.fingerprints, [path], self._stopped)
            if now == (known.size, known.mtime_ns):
                wanted = [(path, name) for name in missing]
                hashes = await in_thread(self._tools.files, sources.digests, wanted, self._stopped)
                found = dict(zip(missing, hashes, strict=True))
                known = known._replace(md5=found.get("md5", known.md5), sha256=found.get("sha256", known.sha256))
        return Outgoing(leftover.document, known)

    def _stopped(self) -> bool:
        self._tools.watch.moved()
        return self._lane.stopped

    async def _send_again(self, group: Sequence[Leftover]) -> None:
        if group:
            await self._tools.journal.commit(*(Reset(left.document.id, self._tools.run_id) for left in group))

    async def _undecided(self, group: Sequence[Leftover], failure: Failure, stage: Stage = Stage.CONFIRM) -> None:
        """Unknown; sent again only if the user said so."""
        if self._tools.terms.retry_unknown:
            await self._send_again(group)
            return
        for left in group:
            if left.state is State.UNKNOWN:
                self._lane.outcomes.repeat(left, f"still unknown: {failure.text}")
        fresh = [Outgoing(left.document, left.content) for left in group if left.state is not State.UNKNOWN]
        await self._lane.outcomes.conclude(fresh, [Receipt(None, failure, stage, known=False)] * len(fresh))


def _waits(there: Receipt | Found) -> bool:
    """Whether it is a record that surely lacks its bytes."""
    return isinstance(there, Found) and there.arrived is False
