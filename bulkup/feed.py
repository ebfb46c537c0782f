"""What feeds a lane: leftovers to be asked about, then batches to be sent, page by page out of the ledger."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio.abc import ObjectSendStream

from bulkup.events import DocumentEnded, Notice
from bulkup.lane import Lane
from bulkup.ledger import EVERYTHING, Candidate, Ledger, Leftover, Span
from bulkup.ledger.admission import CONTENT_CHANGED
from bulkup.model import SKIPPED, Failure, Stage, State
from bulkup.plan import Batch
from bulkup.reconcile import Reconciler, groups
from bulkup.sift import Sifted, Sifter
from bulkup.sources import Sources
from bulkup.tasks import gather, in_thread
from bulkup.tools import Tools

_PAGE = 2000


@dataclass(frozen=True, slots=True)
class LedgerReader:
    """Questions to the ledger, asked in the one thread that touches it."""

    ledger: Ledger
    executor: Executor

    @property
    def name(self) -> str:
        """What users are told it is called."""
        return self.ledger.name

    async def candidates(self, run_id: str, provider: str, after: Candidate | None, span: Span) -> list[Candidate]:
        """The next page of `Ledger.candidates`."""
        return await in_thread(self.executor, self.ledger.candidates, run_id, provider, after, _PAGE, span)

    async def leftovers(self, run_id: str, provider: str, after: Leftover | None, *, ended: bool) -> list[Leftover]:
        """The next page of `Ledger.leftovers`."""
        ask = partial(self.ledger.leftovers, run_id, provider, after, _PAGE, ended=ended)
        return await in_thread(self.executor, ask)

    async def invalid(self, run_id: str) -> list[DocumentEnded]:
        """How the rows ended that could not be sent at all."""
        rows = await in_thread(self.executor, self.ledger.invalid, run_id)
        return [ended(row, run_id) for row in rows]

    async def secret(self) -> bytes:
        """See `Ledger.secret`."""
        return await in_thread(self.executor, self.ledger.secret)

    async def states(self, run_id: str) -> dict[str, int]:
        """See `Ledger.states`."""
        return await in_thread(self.executor, self.ledger.states, run_id)

    async def finish(self, run_id: str, now: str, summary: Mapping[str, object]) -> None:
        """See `Ledger.finish_run`."""
        await in_thread(self.executor, self.ledger.finish_run, run_id, now, summary)

    async def slowest_job(self, provider: str) -> float:
        """See `Ledger.slowest_job`."""
        return await in_thread(self.executor, self.ledger.slowest_job, provider)

    async def claimed(self, provider: str, target: str) -> frozenset[str]:
        """See `Ledger.claimed`."""
        return await in_thread(self.executor, self.ledger.claimed, provider, target)


def ended(row: Mapping[str, Any], run_id: str) -> DocumentEnded:
    """How a row of the ledger ended, as a run tells of it."""
    now, completed = row["run_id"] == run_id, row["state"] == State.COMPLETED.value
    if completed and not now:
        return DocumentEnded(row["key"], row["row"], row["provider"], row["filename"], SKIPPED)
    return DocumentEnded(
        row["key"],
        row["row"],
        row["provider"],
        row["filename"],
        row["state"],
        row["size"] or 0 if completed else 0,
        row["document_id"],
        None if row["stage"] is None else Stage(row["stage"]),
        row["error_code"],
        row["error"],
        repeated=not now,
    )


Spans = Callable[[str], AsyncGenerator[Span, None]]
"""The parts of a provider's rows that are to be gone through; asked for the next when the one before was."""


async def everything(_provider: str) -> AsyncGenerator[Span, None]:
    """All rows of a run, as one part."""
    yield EVERYTHING


async def allow_for(lane: Lane, tools: Tools, ledger: LedgerReader) -> None:
    """Give jobs in doubt the time to complete that this vendor's jobs took lately."""
    slowest = await ledger.slowest_job(lane.api.adapter.name)
    lane.settle = max(lane.settle, min(3 * slowest, tools.terms.job_timeout))


async def reconcile(lane: Lane, tools: Tools, ledger: LedgerReader, *, ended: bool = True) -> None:
    """Settle what was left half-way; afterwards it is ended, or pending again.

    Args:
        ended: also what an earlier run ended as unknown, or as failed for good.
    """
    reconciler = Reconciler(lane, tools)
    last: Leftover | None = None
    held: list[Leftover] = []
    while not lane.stopped:
        page = await ledger.leftovers(tools.run_id, lane.api.adapter.name, last, ended=ended)
        tools.watch.moved()
        if page and last is None:
            tools.emit(Notice(f"{lane.api.adapter.name}: asking what became of rows that an earlier run left half-way"))
        found = groups([*held, *page])
        # the last job's rows may go on in the next page
        held = found.pop() if page and found else []
        if found:
            await gather([partial(reconciler.settle, group) for group in found])
        if not page:
            return
        last = page[-1]


async def feed(lane: Lane, tools: Tools, ledger: LedgerReader, spans: Spans, batches: ObjectSendStream[Batch]) -> None:
    """Go through the rows of a run part by part and page by page, and hand what has to be sent to the workers."""
    adapter, terms = lane.api.adapter, tools.terms

    def stopped() -> bool:
        tools.watch.moved()
        return lane.stopped

    sifter = Sifter(adapter.traits.max_batch, terms.on_change, stopped, Sources(terms.buckets, terms.root))
    async with batches, aclosing(spans(adapter.name)) as parts:
        async for span in parts:
            last: Candidate | None = None
            while not lane.stopped:
                page = await ledger.candidates(tools.run_id, adapter.name, last, span)
                tools.watch.moved()
                sifted = await in_thread(tools.files, sifter.add, page)
                if lane.stopped:
                    return
                await _hand_over(sifted, lane, batches)
                if not page:
                    break
                last = page[-1]


async def _hand_over(sifted: Sifted, lane: Lane, batches: ObjectSendStream[Batch]) -> None:
    for document in sifted.skipped:
        lane.outcomes.skip(document)
    for document in sifted.refused:
        text = f"{document.path!r} holds something else than what was sent (--on-change fail)"
        failure = Failure(CONTENT_CHANGED, text)
        await lane.outcomes.fail(Batch((document,)), {document.id: failure}, Stage.PREFLIGHT)
    for batch in sifted.batches:
        await batches.send(batch)
