"""One vendor's share of a run: what a worker does with a batch, and a finisher with a ticket.

A worker does preflight, init and transfer back to back: a queue between them would let URLs expire. The order of
marks is the promise of the ledger: `Initiated` is durable before the init is sent, `Answered` before the first byte.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio

from bulkup import plan
from bulkup.api import Api
from bulkup.content import Source, inspect
from bulkup.decide import Next, after_init, after_transfer, final, init_again, stops_lane, wants_fallback
from bulkup.deliver import Courier, Delivery, FanOut, Undelivered
from bulkup.errors import StepError
from bulkup.events import Notice
from bulkup.ledger import Answered, Initiated, Measured, Reset
from bulkup.model import Failure, Receipt, Reply, Stage, Ticket
from bulkup.outcome import Outcomes
from bulkup.plan import Batch
from bulkup.providers.base import Fallback, Outgoing
from bulkup.retry import retrying
from bulkup.tasks import in_thread
from bulkup.tools import Tools
from bulkup.track import JOB_OPEN

JOB_TIMEOUT = "job_timeout"
_TWICE = 2


@dataclass(frozen=True, slots=True)
class InFlight:
    """Documents whose bytes are stored, and which the vendor has yet to confirm."""

    api: Api
    outgoing: tuple[Outgoing, ...]
    ticket: Ticket
    replies: Mapping[int, Reply]


class Lane:
    """One vendor in one run.

    Attributes:
        stopped: takes no more batches.
        settle: how long a job in doubt is given to complete by itself, in seconds.

    Args:
        api: the vendor's API.
        tools: what all lanes of the run share.
        fan_out: runs transfers side by side, within the lane's limit.
        start_soon: starts a task that may outlive the worker: `confirm`, for documents whose bytes are stored.
    """

    def __init__(
        self,
        api: Api,
        tools: Tools,
        *,
        fan_out: FanOut[Reply | Undelivered],
        start_soon: Callable[[Callable[[InFlight], Coroutine[Any, Any, None]], InFlight], object],
    ) -> None:
        self.api = api
        self.stopped = False
        self.settle = tools.terms.settle
        self.outcomes = Outcomes(tools.run_id, tools.journal, tools.clock, tools.emit)
        self._tools = tools
        self._courier = Courier(tools, fan_out)
        self._start_soon = start_soon
        self._tracked = anyio.Semaphore(tools.terms.tracked)

    def stop(self, reason: str | None = None) -> None:
        """Take no more batches; what is in flight goes on."""
        if reason is not None and not self.stopped:
            self._tools.emit(Notice(f"{self.api.adapter.name}: stopped, no more rows are taken: {reason}"))
        self.stopped = True

    def stop_for(self, failure: Failure) -> None:
        """Stop if every other row would fail alike."""
        if stops_lane(failure, self._tools.terms.backoff.patience):
            wait = f" (it asks to wait {failure.retry_after:.0f} s)" if failure.retry_after else ""
            self.stop(failure.text + wait)

    async def send(self, batch: Batch) -> None:
        """A worker's work: bring every document of a batch to the store, or to a recorded end."""
        work = [batch]
        while work and not self.stopped:
            work += await self._round(work.pop())

    async def _round(self, batch: Batch) -> list[Batch]:
        """One init with its transfers; returns what has to go another round."""
        api = self.api
        parts = plan.cut(batch, api.adapter.traits.max_batch)
        if len(parts) > 1:
            return parts
        sources = await self._preflight(batch)
        if not sources:
            return []
        batch = plan.only(batch, sources)
        outgoing = tuple(Outgoing(d, sources[d.id].content) for d in batch.documents)
        await self._tracked.acquire()
        flying: InFlight | None = None
        try:
            answer = await self._init(api, batch, outgoing)
            if isinstance(answer, list):
                return answer
            sent = await self._transfer(api, batch, sources, *answer)
            if isinstance(sent, list):
                return sent
            flying = sent
            self._start_soon(self.confirm, flying)
            return []
        finally:
            if flying is None:
                self._tracked.release()

    # --- preflight ------------------------------------------------------------------------------------------------

    async def _preflight(self, batch: Batch) -> dict[int, Source]:
        """The documents that can be read, by id; the others end here. A bundle needs all of its files."""
        paths = [document.path for document in batch.documents]
        digests = self.api.adapter.traits.digests
        look = partial(inspect, paths, digests, allow_empty=self._tools.terms.allow_empty)
        found = await in_thread(self._tools.files, look)
        sources: dict[int, Source] = {}
        failures: dict[int, Failure] = {}
        for document, source in zip(batch.documents, found, strict=True):
            if isinstance(source, Source):
                sources[document.id] = source
            else:
                failures[document.id] = source
        if failures and batch.bundled:
            sources = {}
        if failures:
            await self.outcomes.fail(batch, failures, Stage.PREFLIGHT)
        return sources

    # --- init -----------------------------------------------------------------------------------------------------

    async def _init(self, api: Api, batch: Batch, outgoing: Sequence[Outgoing]) -> tuple[Ticket, float] | list[Batch]:
        """The init's answer and when it was asked for, or what has to be done instead."""
        traits = api.adapter.traits
        at = self._tools.clock.stamp()
        await self._tools.journal.commit(
            *(Initiated(o.document.id, self._tools.run_id, at, api.adapter.flow, o.content) for o in outgoing)
        )
        asked = 0.0
        unavailable = 0

        async def once() -> Ticket:
            nonlocal asked
            asked = self._tools.clock.monotonic()
            return await api.adapter.init(api, outgoing)

        def allowed(failure: Failure) -> bool:
            nonlocal unavailable
            unavailable += wants_fallback(failure, traits)
            return init_again(failure, traits) and not self.stopped and unavailable < _TWICE

        try:
            ticket = await retrying(once, self._tools.terms.backoff, self._tools.clock, allowed)
        except StepError as error:
            if unavailable >= _TWICE and isinstance(api.adapter, Fallback):
                self._fall_back(api, error.failure)
                return [batch]
            return await self._init_failed(api, batch, error.failure)
        await self._tools.journal.commit(
            *(
                Answered(o.document.id, ticket.job_id, remote_id)
                for o, remote_id in zip(outgoing, ticket.remote_ids, strict=True)
            )
        )
        return ticket, asked

    async def _init_failed(self, api: Api, batch: Batch, failure: Failure) -> list[Batch]:
        several = len(batch.documents) > 1 and not batch.bundled
        follows = after_init(failure, api.adapter.traits, several=several)
        if follows is Next.SPLIT:
            return plan.split(batch)
        if self.stopped and init_again(failure, api.adapter.traits):
            # interrupted between two attempts of a repeatable init: nothing of it is left
            await self._tools.journal.commit(*(Reset(d.id, self._tools.run_id) for d in batch.documents))
            return []
        self.stop_for(failure)
        end = self.outcomes.lose if follows is Next.UNKNOWN else self.outcomes.fail
        await end(batch, {document.id: failure for document in batch.documents}, Stage.INIT)
        return []

    def _fall_back(self, api: Api, failure: Failure) -> None:
        """Use the vendor's other flow from now on, and say so once."""
        if self.api is api and isinstance(api.adapter, Fallback):
            self.api = api.with_adapter(api.adapter.fallback())
            name, flow = self.api.adapter.name, self.api.adapter.flow
            self._tools.emit(Notice(f"{name}: falling back to {flow} for the rest of this run ({failure.text})"))

    # --- transfer -------------------------------------------------------------------------------------------------

    async def _transfer(
        self, api: Api, batch: Batch, sources: Mapping[int, Source], ticket: Ticket, asked: float
    ) -> InFlight | list[Batch]:
        """Send all bytes; either everything is stored, or some of it needs another init."""
        delivery = await self._courier.deliver(api, ticket, batch.documents, sources, asked)
        outgoing = tuple(Outgoing(d, sources[d.id].content) for d in batch.documents)
        flying = InFlight(api, outgoing, ticket, delivery.replies)
        if not delivery.failures:
            return flying
        if delivery.uncertain and ticket.job_id is not None:
            # bytes may have landed although their answers were lost: only the job can tell
            self._tools.journal.record(*(Measured(o.document.id, o.content) for o in outgoing))
            answer = await self.probe(flying, self.settle)
            if not isinstance(answer, Failure):
                await self.outcomes.conclude(outgoing, answer)
                return []
            if answer.code != JOB_OPEN:
                self.postpone(len(outgoing), answer)
                return []
        return await self._transfer_failed(api, batch, ticket, delivery, outgoing)

    async def _transfer_failed(
        self, api: Api, batch: Batch, ticket: Ticket, delivery: Delivery, outgoing: Sequence[Outgoing]
    ) -> list[Batch]:
        """End what failed for good; the rest of the batch, whose job can't complete without it, goes another round."""
        traits = api.adapter.traits
        rounds = batch.round + 1
        ended: dict[int, Failure] = {}
        lost: dict[int, Failure] = {}
        for id_, failure in delivery.failures.items():
            follows = after_transfer(
                failure,
                traits,
                single_use=id_ in delivery.single_use,
                rounds=rounds,
                reread=id_ in batch.reread,
                recorded=ticket.job_id is not None or any(ticket.remote_ids),
            )
            if follows is Next.UNKNOWN:
                lost[id_] = failure
            elif follows is Next.FAIL:
                ended[id_] = failure
        if batch.bundled and ended:
            left: list[int] = []
        else:
            left = [d.id for d in batch.documents if d.id not in ended and d.id not in lost]
        never_sent = [id_ for id_, failure in ended.items() if failure.code == "rate_limited" and not failure.sent]
        for failure in ended.values():
            self.stop_for(failure)
        if traits.repeatable_init:
            # in one transaction with what ends, since the old job can't complete without that
            self._tools.journal.record(*(Reset(id_, self._tools.run_id) for id_ in [*left, *never_sent]))
            ended = {id_: failure for id_, failure in ended.items() if id_ not in never_sent}
        if lost:
            self._tools.journal.record(*(Measured(o.document.id, o.content) for o in outgoing))
            await self.outcomes.lose(batch, lost, Stage.TRANSFER)
        if ended:
            retriable = traits.repeatable_init or not any(ticket.remote_ids)
            await self.outcomes.fail(batch, ended, Stage.TRANSFER, retriable=retriable)
        changed = [id_ for id_, failure in delivery.failures.items() if failure.code == "file_changed"]
        return [plan.only(replace(batch, round=rounds), left, reread=changed)] if left else []

    # --- confirm --------------------------------------------------------------------------------------------------

    async def confirm(self, flying: InFlight) -> None:
        """A finisher's work: what became of documents whose bytes are stored."""
        try:
            answer = await self.ask(flying, self._tools.terms.job_timeout)
            if isinstance(answer, Failure) and answer.code == JOB_TIMEOUT:
                last = await self.probe(flying, 0)  # the stream may have held back what the job says
                answer = answer if isinstance(last, Failure) and last.code == JOB_OPEN else last
            if not isinstance(answer, Failure):
                await self.outcomes.conclude(flying.outgoing, answer)
            elif answer.code == JOB_TIMEOUT or final(answer):
                unknown = Receipt(failure=answer, known=False)
                await self.outcomes.conclude(flying.outgoing, [unknown] * len(flying.outgoing))
            else:
                self.postpone(len(flying.outgoing), answer)
        finally:
            self._tracked.release()

    async def ask(self, flying: InFlight, seconds: float) -> Sequence[Receipt] | Failure:
        """The vendor's word on each document, waiting so long for it; or why there is none."""
        failure = Failure(JOB_TIMEOUT, f"the vendor's job did not end within {seconds:g} s")
        with anyio.move_on_after(seconds):
            try:
                return await flying.api.adapter.finish(flying.api, flying.outgoing, flying.ticket, flying.replies)
            except StepError as error:
                failure = error.failure
        return failure

    async def probe(self, flying: InFlight, seconds: float) -> Sequence[Receipt] | Failure:
        """As `ask`, but says ``job_open`` only if the vendor itself said so after that time."""
        try:
            api = flying.api.probing(seconds)
            return await flying.api.adapter.finish(api, flying.outgoing, flying.ticket, flying.replies)
        except StepError as error:
            return error.failure

    def postpone(self, documents: int, failure: Failure) -> None:
        """Documents whose fate can't be asked about now stay as they are: the next run asks."""
        name = self.api.adapter.name
        self._tools.emit(Notice(f"{name}: can't ask what became of {documents} documents now: {failure.text}"))
        self.stop_for(failure)
