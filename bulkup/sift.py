"""Which rows have to be sent: the ledger held against the documents. Blocks: the engine calls it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from bulkup import plan
from bulkup.ledger import Candidate
from bulkup.model import Columns, Content, Document
from bulkup.plan import Batch, OnChange, Planned, Planner, Verdict
from bulkup.sources import Sources

_SEND = frozenset({Verdict.SEND, Verdict.REPLACE})


@dataclass(slots=True)
class Sifted:
    """What became of some rows.

    Attributes:
        batches: to be sent.
        skipped: completed before, and unchanged.
        refused: completed before, changed since, and the user calls that an error.
        missing: rows to be sent whose file is not there.
    """

    batches: list[Batch] = field(default_factory=list)
    skipped: list[Document[Columns]] = field(default_factory=list)
    refused: list[Document[Columns]] = field(default_factory=list)
    missing: int = 0


class Sifter:
    """Judges rows as they come page by page, those that belong together beside each other.

    Args:
        max_batch: documents that one init may carry.
        on_change: what the user wants of changed rows.
        stopped: asked now and then while files are hashed; once true, what `add` answers is of no use.
        sources: where documents are looked at.
    """

    def __init__(self, max_batch: int, on_change: OnChange, stopped: Callable[[], bool], sources: Sources) -> None:
        self._planner = Planner(max_batch)
        self._on_change = on_change
        self._stopped = stopped
        self._sources = sources
        self._held: list[Candidate] = []

    def add(self, page: Sequence[Candidate]) -> Sifted:
        """The next rows; an empty page is the end, and gives what was held back."""
        rows = [*self._held, *page]
        start = _open_bundle(rows) if page else len(rows)
        rows, self._held = rows[:start], rows[start:]
        sifted = Sifted()
        planned: list[Planned] = []
        pairs = zip(rows, self._judge(rows), strict=True)
        for (_, bundled), members in groupby(pairs, key=lambda pair: (pair[0].share, pair[0].bundled)):
            unit = list(members)
            verdicts = {verdict for _, (verdict, _) in unit}
            # a bundle is one document: if one of its files is refused, all are; if one is to be sent, all are
            refused = bundled and Verdict.REFUSE in verdicts
            whole = bundled and not verdicts.isdisjoint(_SEND)
            for row, (verdict, size) in unit:
                if refused or verdict is Verdict.REFUSE:
                    sifted.refused.append(row.document)
                elif whole or verdict in _SEND:
                    sifted.missing += size is None
                    planned.append(Planned(row.document, row.share, row.bundled, size or 0, row.alone, row.orphan))
                elif not row.now:
                    sifted.skipped.append(row.document)
        sifted.batches = self._planner.add(planned)
        if not page:
            sifted.batches += self._planner.flush()
        return sifted

    def _judge(self, rows: Sequence[Candidate]) -> list[tuple[Verdict, int | None]]:
        """What to do with each row, and its file's size in bytes."""
        found = self._sources.fingerprints([row.document.path for row in rows], self._stopped)
        judged = [
            (plan.judge(row.sent, now, self._on_change), now and now[0]) for row, now in zip(rows, found, strict=True)
        ]
        touched = {
            index: (row.document.path, *_hash(row.sent))
            for index, (row, (verdict, _)) in enumerate(zip(rows, judged, strict=True))
            if verdict is Verdict.COMPARE and row.sent is not None
        }
        if touched:
            hashes = self._sources.digests([(path, name) for path, name, _ in touched.values()], self._stopped)
            for (index, (_, _, expected)), hash_ in zip(touched.items(), hashes, strict=True):
                verdict = Verdict.SKIP if hash_ == expected else plan.changed(self._on_change)
                judged[index] = (verdict, judged[index][1])
        return judged


def _hash(sent: Content) -> tuple[str, str | None]:
    """The name of a hash that is known of what was sent, and its value."""
    return ("md5", sent.md5) if sent.md5 else ("sha256", sent.sha256)


def _open_bundle(rows: Sequence[Candidate]) -> int:
    """Where a bundle starts that may go on in the next page; the end, if there is none."""
    start = len(rows)
    while start and rows[start - 1].bundled and rows[start - 1].share == rows[-1].share:
        start -= 1
    return start
