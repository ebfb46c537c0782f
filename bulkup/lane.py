"""One vendor's share of a run: what a worker does with a batch, and a finisher with a ticket.

A worker does preflight, init and transfer back to back: a queue between them would let URLs expire. The order of
marks is the promise of the ledger: `Initiated` is durable before the init is sent, `Answered` before the first byte.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import anyio

from bulkup import plan
from bulkup.api import Api
from bulkup.clock import Clock
from bulkup.content import Source, inspect
from bulkup.decide import Next, after_init, after_transfer, init_again, stops_lane, wants_fallback
from bulkup.errors import StepError
from bulkup.events import Notice, Subscriber, Transferred
from bulkup.http import Transport
from bulkup.journal import Journal
from bulkup.ledger import Answered, Initiated, Stored
from bulkup.model import Columns, Document, Failure, Receipt, Reply, Stage, Ticket, Upload
from bulkup.outcome import Outcomes
from bulkup.pace import Pacer
from bulkup.plan import Batch
from bulkup.providers.base import Fallback, Outgoing
from bulkup.retry import retrying
from bulkup.tasks import in_thread
from bulkup.terms import Terms
from bulkup.transfer import Part, transfer

log = logging.getLogger("bulkup.lane")
T = TypeVar("T")
FanOut = Callable[[Sequence[Callable[[], Awaitable[T]]]], Awaitable[list[T]]]

_TWICE = 2


@dataclass(frozen=True, slots=True)
class Tools:
    """What all lanes of a run share.

    Attributes:
        run_id: the run's.
        transport: carries requests.
        journal: writes the ledger.
        files: threads that read documents.
        terms: what the user set.
        clock: time and chance.
        emit: is told of every event.
    """

    run_id: str
    transport: Transport
    journal: Journal
    files: Executor
    terms: Terms
    clock: Clock
    emit: Subscriber


@dataclass(frozen=True, slots=True)
class InFlight:
    """Documents whose bytes are stored, and which the vendor has yet to confirm."""

    api: Api
    outgoing: tuple[Outgoing, ...]
    ticket: Ticket
    replies: Mapping[int, Reply]


class Lane:
    """One vendor in one run.

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
        fan_out: FanOut[Reply | Failure],
        start_soon: Callable[[Callable[[InFlight], Coroutine[Any, Any, None]], InFlight], object],
    ) -> None:
        self.api = api
        self.stopped = False
        self.outcomes = Outcomes(tools.run_id, tools.journal, tools.clock, tools.emit)
        self._tools = tools
        self._fan_out = fan_out
        self._start_soon = start_soon
        self._store = Pacer(tools.clock, tools.terms.backoff.patience)
        self._tracked = anyio.Semaphore(tools.terms.tracked)

    def stop(self, reason: str | None = None) -> None:
        """Take no more batches; what is in flight goes on."""
        if reason is not None and not self.stopped:
            self._tools.emit(Notice(f"{self.api.adapter.name}: stopped, the rest stays pending: {reason}"))
        self.stopped = True

    def stop_for(self, failure: Failure) -> None:
        """Stop if every other row would fail alike."""
        if stops_lane(failure, self._tools.terms.backoff.patience):
            self.stop(failure.text)

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
            flying, again = await self._transfer_all(api, batch, sources, *answer)
            if flying is not None:
                self._start_soon(self.confirm, flying)
            return again
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
            *(
                Initiated(
                    o.document.id,
                    self._tools.run_id,
                    at,
                    api.adapter.flow,
                    o.content,
                    o.document.id in batch.replaced and batch.round == 0,
                )
                for o in outgoing
            )
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
            return plan.split(replace(batch, round=batch.round + 1))
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

    async def _transfer_all(
        self, api: Api, batch: Batch, sources: Mapping[int, Source], ticket: Ticket, asked: float
    ) -> tuple[InFlight | None, list[Batch]]:
        """Send all bytes; either everything is stored, or the rest needs another init."""
        documents = batch.documents
        results = await self._fan_out(
            [partial(self._transfer, api, upload, documents, sources, asked) for upload in ticket.uploads]
        )
        failures: dict[int, Failure] = {}
        replies: dict[int, Reply] = {}
        single_use: set[int] = set()
        for upload, result in zip(ticket.uploads, results, strict=True):
            for slot in upload.slots:
                if isinstance(result, Reply):
                    replies[slot] = result
                else:
                    failures[documents[slot].id] = result
                    single_use |= {documents[slot].id} if upload.single_use else set()
        if failures:
            return None, await self._transfer_failed(api, batch, ticket, failures, single_use)
        at = self._tools.clock.stamp()
        outgoing = tuple(Outgoing(d, sources[d.id].content) for d in documents)
        self._tools.journal.record(*(Stored(o.document.id, at, o.content) for o in outgoing))
        return InFlight(api, outgoing, ticket, replies), []

    async def _transfer(
        self,
        api: Api,
        upload: Upload,
        documents: Sequence[Document[Columns]],
        sources: Mapping[int, Source],
        asked: float,
    ) -> Reply | Failure:
        lives = [life for life in (api.adapter.traits.url_ttl, upload.lifetime) if life is not None]
        ends = asked + min(lives) if lives else float("inf")
        parts = [Part(documents[slot].filename, sources[documents[slot].id]) for slot in upload.slots]

        async def once() -> Reply:
            await self._store.turn()
            try:
                return await transfer(
                    upload,
                    parts,
                    credentials=await api.headers(upload.method, upload.url.value) if upload.auth else (),
                    secrets=api.adapter.secrets,
                    expired=lambda: self._tools.clock.monotonic() >= ends,
                    transport=self._tools.transport,
                    limits=self._tools.terms.limits,
                    executor=self._tools.files,
                )
            except StepError as error:
                self._store.hold(error.failure.retry_after)
                raise

        def allowed(failure: Failure) -> bool:
            return init_again(failure, replace(api.adapter.traits, repeatable_init=not upload.single_use))

        try:
            reply = await retrying(once, self._tools.terms.backoff, self._tools.clock, allowed)
        except StepError as error:
            return error.failure
        self._tools.emit(Transferred(sum(part.source.content.size for part in parts)))
        return reply

    async def _transfer_failed(
        self, api: Api, batch: Batch, ticket: Ticket, failures: Mapping[int, Failure], single_use: set[int]
    ) -> list[Batch]:
        """End what failed for good; the rest of the batch, whose job can't complete without it, goes another round."""
        traits = api.adapter.traits
        rounds = batch.round + 1
        ended: dict[int, Failure] = {}
        lost: dict[int, Failure] = {}
        for id_, failure in failures.items():
            follows = after_transfer(
                failure, traits, single_use=id_ in single_use, rounds=rounds, reread=id_ in batch.reread
            )
            if follows is Next.UNKNOWN:
                lost[id_] = failure
            elif follows is Next.FAIL:
                ended[id_] = failure
        if lost:
            await self.outcomes.lose(batch, lost, Stage.TRANSFER)
        if ended:
            retriable = traits.repeatable_init or not any(ticket.remote_ids)
            await self.outcomes.fail(batch, ended, Stage.TRANSFER, retriable=retriable)
        if ended and batch.bundled:
            return []
        left = [document.id for document in batch.documents if document.id not in ended and document.id not in lost]
        changed = [id_ for id_, failure in failures.items() if failure.code == "file_changed"]
        return [plan.only(replace(batch, round=rounds), left, reread=changed)] if left else []

    # --- confirm --------------------------------------------------------------------------------------------------

    async def confirm(self, flying: InFlight) -> None:
        """A finisher's work: what became of documents whose bytes are stored."""
        try:
            receipts = await self.ask(flying, self._tools.terms.job_timeout)
            await self.outcomes.conclude(flying.outgoing, receipts)
        finally:
            self._tracked.release()

    async def ask(self, flying: InFlight, seconds: float) -> Sequence[Receipt]:
        """The vendor's word on each document; without one in time, or at all, what became of it is not known."""
        failure = Failure("job_timeout", f"the vendor's job did not end within {seconds:g} s")
        with anyio.move_on_after(seconds):
            try:
                return await flying.api.adapter.finish(flying.api, flying.outgoing, flying.ticket, flying.replies)
            except StepError as error:
                failure = error.failure
        return [Receipt(failure=failure, known=False)] * len(flying.outgoing)
