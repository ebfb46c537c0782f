"""Which rows have to be sent: the ledger held against the files on disk. Blocks: the engine calls it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from bulkup import content, plan
from bulkup.ledger import Candidate
from bulkup.model import Columns, Document
from bulkup.plan import Batch, OnChange, Planned, Planner, Verdict

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
        root: nothing outside of this folder is read.
    """

    def __init__(
        self, max_batch: int, on_change: OnChange, stopped: Callable[[], bool], root: str | None = None
    ) -> None:
        self._planner = Planner(max_batch)
        self._on_change = on_change
        self._stopped = stopped
        self._root = root
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
        judged: list[tuple[Verdict, int | None]] = []
        for row, now in zip(rows, content.fingerprints(row.document.path for row in rows), strict=True):
            verdict = plan.judge(row.sent, now, self._on_change)
            if verdict is Verdict.COMPARE and row.sent is not None:
                name, expected = ("md5", row.sent.md5) if row.sent.md5 else ("sha256", row.sent.sha256)
                same = content.digest(row.document.path, name, self._stopped, self._root) == expected
                verdict = Verdict.SKIP if same else plan.changed(self._on_change)
            judged.append((verdict, now and now[0]))
        return judged


def _open_bundle(rows: Sequence[Candidate]) -> int:
    """Where a bundle starts that may go on in the next page; the end, if there is none."""
    start = len(rows)
    while start and rows[start - 1].bundled and rows[start - 1].share == rows[-1].share:
        start -= 1
    return start
