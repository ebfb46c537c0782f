"""How documents end: marked in the ledger first, told to the subscribers when that is durable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkup.clock import Clock
from bulkup.events import DocumentEnded, Subscriber
from bulkup.journal import Journal
from bulkup.ledger import Ended, Leftover
from bulkup.model import SKIPPED, Columns, Document, Failure, Receipt, Stage, State
from bulkup.plan import Batch
from bulkup.providers.base import Outgoing


class Outcomes:
    """Records the ends of one run's documents.

    Args:
        run_id: the run's.
        journal: writes the ledger.
        clock: stamps the marks.
        emit: is told of each end.
    """

    def __init__(self, run_id: str, journal: Journal, clock: Clock, emit: Subscriber) -> None:
        self._run_id = run_id
        self._journal = journal
        self._clock = clock
        self._emit = emit

    async def fail(
        self,
        batch: Batch,
        failures: Mapping[int, Failure],
        stage: Stage,
        *,
        retriable: bool = True,
        init_lost: bool = False,
    ) -> None:
        """End documents (by id) as failed; in a bundle the others with them, since half a document is none."""
        if batch.bundled:
            culprit = next(document for document in batch.documents if document.id in failures)
            text = f"left out with its group: {culprit.filename!r}: {failures[culprit.id].text}"
            failures = {d.id: Failure("group_incomplete", text) for d in batch.documents} | dict(failures)
        await self._end(batch, failures, State.FAILED, stage, retriable=retriable, init_lost=init_lost)

    async def lose(self, batch: Batch, failures: Mapping[int, Failure], stage: Stage) -> None:
        """End documents (by id) as unknown: something was sent, and nothing tells what became of it."""
        await self._end(batch, failures, State.UNKNOWN, stage)

    async def conclude(self, outgoing: Sequence[Outgoing], receipts: Sequence[Receipt]) -> None:
        """End documents by what the vendor said of them."""
        at = self._clock.stamp()
        marks = [self._mark(o.document.id, at, receipt) for o, receipt in zip(outgoing, receipts, strict=True)]
        await self._journal.commit(*marks)
        for o, mark in zip(outgoing, marks, strict=True):
            self._tell(o.document, mark, o.content.size)

    def skip(self, document: Document[Columns]) -> None:
        """An earlier run completed it; the ledger's row stays as it is."""
        self._emit(DocumentEnded(document.key, document.number, document.provider, document.filename, SKIPPED))

    def repeat(self, leftover: Leftover, text: str) -> None:
        """It stays what an earlier run made of it, for the same reason."""
        document = leftover.document
        stage = None if leftover.stage is None else Stage(leftover.stage)
        self._emit(
            DocumentEnded(
                document.key,
                document.number,
                document.provider,
                document.filename,
                leftover.state.value,
                document_id=leftover.document_id,
                stage=stage,
                error_code=leftover.error_code,
                error="; ".join(filter(None, (leftover.error, text))),
                repeated=True,
            )
        )

    def _mark(self, id_: int, at: str, receipt: Receipt) -> Ended:
        failure = receipt.failure
        if failure is None:
            return Ended(id_, self._run_id, at, State.COMPLETED, receipt.document_id)
        state = State.FAILED if receipt.known else State.UNKNOWN
        return Ended(id_, self._run_id, at, state, receipt.document_id, receipt.stage, failure.code, failure.text)

    async def _end(
        self,
        batch: Batch,
        failures: Mapping[int, Failure],
        state: State,
        stage: Stage,
        *,
        retriable: bool = True,
        init_lost: bool = False,
    ) -> None:
        at = self._clock.stamp()
        found = [(document, failures[document.id]) for document in batch.documents if document.id in failures]
        marks = [
            Ended(document.id, self._run_id, at, state, None, stage, failure.code, failure.text, retriable, init_lost)
            for document, failure in found
        ]
        await self._journal.commit(*marks)
        for (document, _), mark in zip(found, marks, strict=True):
            self._tell(document, mark, 0)

    def _tell(self, document: Document[Columns], mark: Ended, size: int) -> None:
        self._emit(
            DocumentEnded(
                document.key,
                document.number,
                document.provider,
                document.filename,
                str(mark.state),
                size if mark.state is State.COMPLETED else 0,
                mark.document_id,
                mark.stage,
                mark.code,
                mark.text,
            )
        )
