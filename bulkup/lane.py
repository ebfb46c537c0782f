"""One vendor's share of a run: what a worker does with a batch, and a finisher with a ticket.

A worker does preflight, init and transfer back to back: a queue between them would let URLs expire. The order of
marks is the promise of the ledger: `Initiated` is durable before the init is sent, `Answered` before the first byte.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import anyio

from bulkup import plan
from bulkup.announce import Announced, Announcer
from bulkup.api import Api
from bulkup.content import CHUNK, SMALL
from bulkup.decide import Next, after_init, after_transfer, init_again, stays_pending, stops_lane
from bulkup.deliver import Courier, Delivery
from bulkup.errors import StepError
from bulkup.events import Notice
from bulkup.ledger import Measured, Reset, Stored
from bulkup.model import Failure, Receipt, Reply, Stage, Ticket
from bulkup.outcome import Outcomes
from bulkup.plan import Batch
from bulkup.providers.base import Fallback, Outgoing, able
from bulkup.readable import Readable
from bulkup.relay import Places
from bulkup.sources import Sources
from bulkup.tools import Tools
from bulkup.track import JOB_OPEN
from bulkup.verify import arrived

JOB_TIMEOUT = "job_timeout"
_STRIKES = 3
"""Refused inits in a row after which a container is left alone: one or two may be about their documents."""


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
        places: for the transfers in flight of this vendor.
        start_soon: starts a task that may outlive the worker: `confirm`, for documents whose bytes are stored.
    """

    def __init__(
        self,
        api: Api,
        tools: Tools,
        *,
        places: Places,
        start_soon: Callable[[Callable[[InFlight], Coroutine[Any, Any, None]], InFlight], object],
    ) -> None:
        self.api = api
        self.stopped = False
        self.settle = tools.terms.settle
        self.outcomes = Outcomes(tools.run_id, tools.journal, tools.clock, tools.emit)
        self._tools = tools
        self._announcer = Announcer(tools, lambda: self.stopped)
        self._courier = Courier(tools, places)
        self._start_soon = start_soon
        self._refusals: dict[str, int] = {}
        self._tracked = anyio.Semaphore(tools.terms.tracked, fast_acquire=True)

    def stop(self, reason: Failure | None = None) -> None:
        """Take no more batches; what is in flight goes on."""
        if reason is not None and not self.stopped:
            wait = f" (it asks to wait {reason.retry_after:.0f} s)" if reason.retry_after else ""
            text = f"{self.api.adapter.name}: stopped, no more rows are taken: "
            self._tools.emit(Notice(f"{text}{reason.text}{wait}", f"{text}{reason.code}{wait}"))
        self.stopped = True

    def stop_for(self, failure: Failure) -> None:
        """Stop if every other row would fail alike."""
        if stops_lane(failure, self._tools.terms.backoff.patience):
            self.stop(failure)

    def _takes(self, batch: Batch) -> bool:
        """Whether rows of its container may be sent."""
        return not self.stopped and self._refusals.get(batch.documents[0].target, 0) < _STRIKES

    def _refused(self, failure: Failure, target: str) -> None:
        """Send nothing more to a container that refuses one init after the other."""
        if failure.code not in self.api.adapter.traits.target_refusals:
            return
        self._refusals[target] = self._refusals.get(target, 0) + 1
        if self._refusals[target] == _STRIKES:
            name, text = self.api.adapter.name, "refused, no more of its rows are taken"
            gist = f"{name}: a container is {text}: {failure.code}"
            self._tools.emit(Notice(f"{name}: {target}: {text}: {failure.text}", gist))

    async def send(self, batch: Batch) -> None:
        """A worker's work: bring every document of a batch to the store, or to a recorded end."""
        work = [batch]
        while work and not self.stopped:
            batch = work.pop()
            slots, memory = self.api.traffic.slots, self._tools.memory
            await slots.take()
            try:
                held = await memory.take(_weight(batch))
                try:
                    if self._takes(batch):
                        work += await self._round(batch)
                finally:
                    memory.give(held)
            finally:
                slots.leave()

    async def _round(self, batch: Batch) -> list[Batch]:
        """One init with its transfers; returns what has to go another round."""
        api = self.api
        parts = plan.cut(batch, api.adapter.traits.max_batch)
        if len(parts) > 1:
            return parts
        with self._doing("preflight"):
            sources = await self._preflight(batch)
        if not sources:
            return []
        batch = plan.only(batch, sources)
        outgoing = tuple([Outgoing(d, sources[d.id].content) for d in batch.documents])
        await self._tracked.acquire()
        flying: InFlight | None = None
        try:
            if not self._takes(batch):
                return []
            with self._doing("init"):
                answer = await self._init(api, batch, outgoing)
            if isinstance(answer, list):
                return answer
            with self._doing("transfer"):
                sent = await self._transfer(api, batch, sources, answer)
            if isinstance(sent, list):
                return sent
            flying = sent
            self._start_soon(self.confirm, flying)
            return []
        finally:
            if flying is None:
                self._tracked.release()

    # --- preflight ------------------------------------------------------------------------------------------------

    async def _preflight(self, batch: Batch) -> dict[int, Readable]:
        """The documents that can be read, by id; the others end here. A bundle needs all of its files."""
        paths = [document.path for document in batch.documents]
        traits, terms = self.api.adapter.traits, self._tools.terms
        digests = frozenset[str]() if terms.verify is False else traits.digests
        found = await Sources(terms.buckets, terms.root).inspect(
            paths, digests, self._tools.files, allow_empty=terms.allow_empty, magic=traits.magic
        )
        sources: dict[int, Readable] = {}
        failures: dict[int, Failure] = {}
        for document, source in zip(batch.documents, found, strict=True):
            if isinstance(source, Failure):
                failures[document.id] = source
            else:
                sources[document.id] = source
        if failures and batch.bundled:
            sources = {}
        if failures:
            await self.outcomes.fail(batch, failures, Stage.PREFLIGHT)
        return sources

    # --- init -----------------------------------------------------------------------------------------------------

    async def _init(self, api: Api, batch: Batch, outgoing: Sequence[Outgoing]) -> Announced | list[Batch]:
        """The init's answer, or what has to be done instead."""
        answer = await self._announcer.announce(api, batch, outgoing)
        if isinstance(answer, Announced):
            self._refusals.pop(batch.documents[0].target, None)
            return answer
        if answer.unavailable and able(api.adapter, Fallback):
            self._fall_back(api, answer.failure)
            return [batch]
        failure = answer.failure
        several = len(batch.documents) > 1 and not batch.bundled
        follows = after_init(failure, api.adapter.traits, several=several)
        if follows is Next.SPLIT:
            return plan.split(batch)
        unsent = self.stopped and init_again(failure, api.adapter.traits)
        self.stop_for(failure)
        if unsent or stays_pending(failure, self._tools.terms.backoff.patience):
            if not answer.lost:  # else the next run asks what is left of it
                await self._tools.journal.commit(*(Reset(d.id, self._tools.run_id) for d in batch.documents))
            return []
        self._refused(failure, batch.documents[0].target)
        failures = {document.id: failure for document in batch.documents}
        if follows is Next.UNKNOWN:
            await self.outcomes.lose(batch, failures, Stage.INIT)
        else:
            await self.outcomes.fail(batch, failures, Stage.INIT, init_lost=answer.lost)
        return []

    def _fall_back(self, api: Api, failure: Failure) -> None:
        """Use the vendor's other flow from now on, and say so once."""
        if self.api is api and able(api.adapter, Fallback):
            self.api = api.with_adapter(api.adapter.fallback())
            name, flow = self.api.adapter.name, self.api.adapter.flow
            text = f"{name}: falling back to {flow} for the rest of this run"
            self._tools.emit(Notice(f"{text} ({failure.text})", f"{text} ({failure.code})"))

    # --- transfer -------------------------------------------------------------------------------------------------

    async def _transfer(
        self, api: Api, batch: Batch, sources: Mapping[int, Readable], announced: Announced
    ) -> InFlight | list[Batch]:
        """Send all bytes; either everything is stored, or some of it needs another init."""
        ticket = announced.ticket
        delivery = await self._courier.deliver(api, ticket, batch.documents, sources, announced.asked)
        outgoing = tuple([Outgoing(d, sources[d.id].content) for d in batch.documents])
        flying = InFlight(api, outgoing, ticket, delivery.replies)
        if not delivery.failures:
            return flying
        if delivery.uncertain:
            # bytes may have landed although their answers were lost: only the vendor can tell
            self._tools.journal.record(*(Measured(o.document.id, o.content) for o in outgoing))
            try:
                if ticket.job_id is not None:
                    return await self._by_job(api, batch, announced, delivery, flying)
                if await arrived(api, outgoing, ticket.remote_ids, self._tools, self.settle):
                    at = self._tools.clock.stamp()
                    self._tools.journal.record(*(Stored(o.document.id, at, o.content) for o in outgoing))
                    return flying
            except StepError as error:
                if api.adapter.traits.repeatable_init and not error.failure.final:
                    self.postpone(len(outgoing), error.failure)
                    return []
        return await self._transfer_failed(api, batch, announced, delivery, outgoing)

    async def _by_job(
        self, api: Api, batch: Batch, announced: Announced, delivery: Delivery, flying: InFlight
    ) -> list[Batch]:
        """Ask the job whether bytes landed; if it still waits for them, they did not."""
        answer = await self.probe(flying, self.settle)
        if not isinstance(answer, Failure):
            await self.outcomes.conclude(flying.outgoing, answer)
            return []
        if answer.code != JOB_OPEN:
            self.postpone(len(flying.outgoing), answer)
            return []
        return await self._transfer_failed(api, batch, announced, delivery, flying.outgoing)

    async def _transfer_failed(
        self, api: Api, batch: Batch, announced: Announced, delivery: Delivery, outgoing: Sequence[Outgoing]
    ) -> list[Batch]:
        """End what failed for good; the rest of the batch, whose job can't complete without it, goes another round."""
        traits, ticket = api.adapter.traits, announced.ticket
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
                resumed=announced.resumed,
            )
            if follows is Next.UNKNOWN:
                lost[id_] = failure
            elif follows is Next.FAIL:
                ended[id_] = failure
        if batch.bundled and ended:
            left: list[int] = []
        else:
            left = [d.id for d in batch.documents if d.id not in ended and d.id not in lost]
        patience = self._tools.terms.backoff.patience
        never_sent = [id_ for id_, failure in ended.items() if stays_pending(failure, patience)]
        for failure in ended.values():
            self.stop_for(failure)
        if traits.repeatable_init or ticket.inits:
            # in one transaction with what ends, since the old job can't complete without that
            unsent = [*left, *never_sent] if traits.repeatable_init else never_sent
            self._tools.journal.record(*(Reset(id_, self._tools.run_id) for id_ in unsent))
            ended = {id_: failure for id_, failure in ended.items() if id_ not in never_sent}
        stage = Stage.INIT if ticket.inits else Stage.TRANSFER
        if lost:
            self._tools.journal.record(*(Measured(o.document.id, o.content) for o in outgoing))
            await self.outcomes.lose(batch, lost, stage)
        if ended:
            retriable = traits.repeatable_init or not any(ticket.remote_ids)
            await self.outcomes.fail(batch, ended, stage, retriable=retriable)
        changed = [id_ for id_, failure in delivery.failures.items() if failure.code == "file_changed"]
        records = zip(batch.documents, ticket.remote_ids, strict=True)
        gone = {id_ for id_, failure in delivery.failures.items() if failure.code == "not_found"}
        orphans = {document.id: id_ for document, id_ in records if id_ and document.id not in gone}
        again = replace(batch, round=rounds, orphans=orphans)
        return [plan.only(again, left, reread=changed)] if left else []

    # --- confirm --------------------------------------------------------------------------------------------------

    async def confirm(self, flying: InFlight) -> None:
        """A finisher's work: what became of documents whose bytes are stored."""
        try:
            with self._doing("confirm"):
                await self.settled(flying)
        finally:
            self._tracked.release()

    def _doing(self, stage: str) -> AbstractContextManager[None]:
        return self._tools.watch.doing(f"{self.api.adapter.name}: {stage}")

    async def settled(self, flying: InFlight) -> None:
        """Do what follows the transfer, and record how the documents end; or leave it to the next run."""
        answer = await self.ask(flying, self._tools.terms.job_timeout)
        if isinstance(answer, Failure) and answer.code == JOB_TIMEOUT:
            last = await self.probe(flying, 0)  # the stream may have held back what the job says
            answer = answer if isinstance(last, Failure) and last.code == JOB_OPEN else last
        if not isinstance(answer, Failure):
            if flying.ticket.inits:
                self._stored(flying, answer)
            answer = await self._verified(flying, answer)
        if not isinstance(answer, Failure):
            await self.outcomes.conclude(flying.outgoing, answer)
        elif answer.code == JOB_TIMEOUT or answer.final:
            unknown = Receipt(failure=answer, known=False)
            await self.outcomes.conclude(flying.outgoing, [unknown] * len(flying.outgoing))
        else:
            self.postpone(len(flying.outgoing), answer)

    def _stored(self, flying: InFlight, receipts: Sequence[Receipt]) -> None:
        """Mark what an init took along, once its answer could be read."""
        at = self._tools.clock.stamp()
        pairs = zip(flying.outgoing, receipts, strict=True)
        self._tools.journal.record(*(Stored(o.document.id, at, o.content) for o, r in pairs if r.failure is None))

    async def _verified(self, flying: InFlight, receipts: Sequence[Receipt]) -> Sequence[Receipt] | Failure:
        """The receipts, or doubts where the vendor does not show what it took; costs requests, so only on demand."""
        proven = flying.api.adapter.traits.proves_arrival or any(receipt.failure for receipt in receipts)
        if proven or not self._tools.terms.verify:
            return receipts
        ids = [receipt.document_id for receipt in receipts]
        try:
            if await arrived(flying.api, flying.outgoing, ids, self._tools, self.settle):
                return receipts
        except StepError as error:
            return error.failure
        doubt = Failure("not_verified", "the vendor took the bytes, but on being asked it does not show them")
        return [Receipt(id_, doubt, known=False) for id_ in ids]

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
        text = f"{name}: can't ask what became of {documents} documents now"
        self._tools.emit(Notice(f"{text}: {failure.text}", f"{text}: {failure.code}"))
        self.stop_for(failure)


def _weight(batch: Batch) -> int:
    """Bytes that its bodies take at a time: small files whole, of a large one what is being read and sent."""
    small = SMALL * len(batch.documents)
    return batch.size if batch.size <= small else small + 2 * CHUNK
