"""What an earlier run left half-way is asked about first: only what the vendor does not have is sent again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from bulkup.api import Api
from bulkup.errors import StepError
from bulkup.lane import InFlight, Lane, Tools
from bulkup.ledger import Leftover, Reset
from bulkup.model import State, Ticket
from bulkup.providers.base import Fallback, Finder, Outgoing, Trace

log = logging.getLogger("bulkup.reconcile")


def groups(leftovers: Sequence[Leftover]) -> list[list[Leftover]]:
    """Leftovers that one question answers: those of one job, or else of one target and flow."""

    def question(leftover: Leftover) -> tuple[str, str, str]:
        return (leftover.job_id or "", leftover.document.target, leftover.flow)

    return [list(members) for _, members in groupby(sorted(leftovers, key=question), key=question)]


class Reconciler:
    """Settles leftovers of one lane.

    Args:
        lane: whose outcomes and API are used.
        tools: the run's.
        claimed: answers the document ids of a provider's target that the ledger holds.
    """

    def __init__(self, lane: Lane, tools: Tools, claimed: Callable[[str, str], Awaitable[frozenset[str]]]) -> None:
        self._lane = lane
        self._tools = tools
        self._claimed = claimed

    async def settle(self, group: Sequence[Leftover]) -> None:
        """Bring one group to an end, or back to pending; what can't be asked about now stays as it is."""
        group = await self._already_ended(group)
        if not group:
            return
        api = self._api(group[0].flow)
        try:
            if group[0].job_id is not None:
                await self._by_job(api, group)
            else:
                await self._by_listing(api, group)
        except StepError as error:
            log.warning("can't ask about what an earlier run left: %s", error)
            self._lane.stop_for(error.failure)

    async def _already_ended(self, group: Sequence[Leftover]) -> list[Leftover]:
        """Leaves out rows that failed in a way that only the user may repeat, and says so again."""
        for leftover in group:
            if leftover.state is State.FAILED:
                self._lane.outcomes.repeat(leftover.document, State.FAILED, "failed before; not repeated by itself")
        return [leftover for leftover in group if leftover.state is not State.FAILED]

    def _api(self, flow: str) -> Api:
        adapter = self._lane.api.adapter
        if flow and adapter.flow != flow and isinstance(adapter, Fallback):
            return self._lane.api.with_adapter(adapter.fallback())
        return self._lane.api

    async def _by_job(self, api: Api, group: Sequence[Leftover]) -> None:
        """The job tells; one that is still open gets some time, since its last bytes may have landed unnoticed."""
        states = {leftover.state for leftover in group}
        all_stored = states == {State.STORED}
        outgoing = tuple(Outgoing(leftover.document, leftover.content) for leftover in group)
        ticket = Ticket(group[0].job_id, tuple(leftover.document_id for leftover in group), ())
        seconds = self._tools.terms.job_timeout if all_stored else self._tools.terms.settle
        receipts = await self._lane.ask(InFlight(api, outgoing, ticket, {}), seconds)
        failure = receipts[0].failure
        if failure is None or receipts[0].known:
            await self._lane.outcomes.conclude(outgoing, receipts)
        elif failure.code == "not_found":
            await self._by_listing(api, group)
        elif failure.code != "job_timeout":
            raise StepError(failure)
        elif State.INITIATED in states:
            await self._send_again(group)
        else:
            await self._lane.outcomes.conclude(outgoing, receipts)

    async def _by_listing(self, api: Api, group: Sequence[Leftover]) -> None:
        adapter = api.adapter
        if group[0].job_id is None and adapter.traits.init_leaves_nothing:
            await self._send_again(group)
            return
        if not isinstance(adapter, Finder):
            await self._undecided(group, "the vendor can't be asked what became of it")
            return
        first = group[0].document
        traces = [Trace(Outgoing(left.document, left.content), left.initiated_at) for left in group]
        found = await adapter.find(api, traces, await self._claimed(first.provider, first.target))
        there = [(left, receipt) for left, receipt in zip(group, found, strict=True) if receipt is not None]
        gone = [left for left, receipt in zip(group, found, strict=True) if receipt is None]
        if there:
            outgoing = [Outgoing(left.document, left.content) for left, _ in there]
            await self._lane.outcomes.conclude(outgoing, [receipt for _, receipt in there])
        await self._send_again([left for left in gone if left.state is not State.UNKNOWN])
        await self._undecided([left for left in gone if left.state is State.UNKNOWN], "the vendor does not list it")

    async def _send_again(self, group: Sequence[Leftover]) -> None:
        if group:
            await self._tools.journal.commit(*(Reset(left.document.id, self._tools.run_id) for left in group))

    async def _undecided(self, group: Sequence[Leftover], text: str) -> None:
        for leftover in group:
            self._lane.outcomes.repeat(leftover.document, State.UNKNOWN, text)
