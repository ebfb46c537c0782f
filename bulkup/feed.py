"""What feeds a lane: leftovers to be asked about, then batches to be sent, page by page out of the ledger."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from anyio.abc import ObjectSendStream

from bulkup.events import DocumentEnded, Notice
from bulkup.lane import Lane
from bulkup.ledger import Candidate, Ledger, Leftover
from bulkup.ledger.admission import CONTENT_CHANGED
from bulkup.model import Failure, Stage, State
from bulkup.plan import Batch
from bulkup.reconcile import Reconciler, groups
from bulkup.sift import Sifter
from bulkup.sources import Sources
from bulkup.tasks import gather, in_thread
from bulkup.tools import Tools

_PAGE = 2000


@dataclass(frozen=True, slots=True)
class LedgerReader:
    """Questions to the ledger, asked in the one thread that touches it."""

    ledger: Ledger
    executor: Executor

    async def candidates(self, run_id: str, provider: str, after: Candidate | None) -> list[Candidate]:
        """The next page of `Ledger.candidates`."""
        return await in_thread(self.executor, self.ledger.candidates, run_id, provider, after, _PAGE)

    async def leftovers(self, run_id: str, provider: str, after: Leftover | None) -> list[Leftover]:
        """The next page of `Ledger.leftovers`."""
        return await in_thread(self.executor, self.ledger.leftovers, run_id, provider, after, _PAGE)

    async def invalid(self, run_id: str) -> list[DocumentEnded]:
        """How the rows ended that could not be sent at all."""
        rows = await in_thread(self.executor, self.ledger.invalid, run_id)
        return [
            DocumentEnded(
                row["key"],
                row["row"],
                row["provider"],
                row["filename"],
                State.FAILED.value,
                stage=Stage.MANIFEST,
                error_code=row["error_code"],
                error=row["error"],
            )
            for row in rows
        ]

    async def slowest_job(self, provider: str) -> float:
        """See `Ledger.slowest_job`."""
        return await in_thread(self.executor, self.ledger.slowest_job, provider)

    async def claimed(self, provider: str, target: str) -> frozenset[str]:
        """See `Ledger.claimed`."""
        return await in_thread(self.executor, self.ledger.claimed, provider, target)


async def reconcile(lane: Lane, tools: Tools, ledger: LedgerReader) -> None:
    """Settle what earlier runs left half-way; afterwards it is ended, or pending again."""
    slowest = await ledger.slowest_job(lane.api.adapter.name)
    lane.settle = max(lane.settle, min(3 * slowest, tools.terms.job_timeout))
    reconciler = Reconciler(lane, tools)
    last: Leftover | None = None
    held: list[Leftover] = []
    while not lane.stopped:
        page = await ledger.leftovers(tools.run_id, lane.api.adapter.name, last)
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


async def feed(lane: Lane, tools: Tools, ledger: LedgerReader, batches: ObjectSendStream[Batch]) -> None:
    """Go through the rows of a run page by page, and hand what has to be sent to the workers."""
    adapter, terms = lane.api.adapter, tools.terms

    def stopped() -> bool:
        tools.watch.moved()
        return lane.stopped

    sifter = Sifter(adapter.traits.max_batch, terms.on_change, stopped, Sources(terms.buckets, terms.root))
    last: Candidate | None = None
    async with batches:
        while not lane.stopped:
            page = await ledger.candidates(tools.run_id, adapter.name, last)
            tools.watch.moved()
            sifted = await in_thread(tools.files, sifter.add, page)
            if lane.stopped:
                return
            for document in sifted.skipped:
                lane.outcomes.skip(document)
            for document in sifted.refused:
                text = f"{document.path!r} holds something else than what was sent (--on-change fail)"
                failure = Failure(CONTENT_CHANGED, text)
                await lane.outcomes.fail(Batch((document,)), {document.id: failure}, Stage.PREFLIGHT)
            for batch in sifted.batches:
                await batches.send(batch)
            if not page:
                return
            last = page[-1]
