"""What a run has to do, decided from what is known: skip, replace, batch, order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from bulkup.model import Columns, Content, Document


class OnChange(StrEnum):
    """What happens to a completed row whose file holds something else now."""

    UPLOAD = "upload"
    SKIP = "skip"
    FAIL = "fail"


class Verdict(StrEnum):
    """What is to be done with a row."""

    SEND = "send"
    REPLACE = "replace"
    """It was completed with another content: sent again, the former document stays in the history."""
    SKIP = "skip"
    REFUSE = "refuse"
    """Its content changed, and the user said that this is an error."""
    COMPARE = "compare"
    """Touched, but as long as before: only its hash can tell."""


def judge(sent: Content | None, found: tuple[int, int] | None, on_change: OnChange) -> Verdict:
    """What to do with a row.

    Args:
        sent: what was completed before; None: nothing was.
        found: size and modification time (ns) of the file now; None: there is none.
        on_change: what the user wants of changed rows.
    """
    if sent is None:
        return Verdict.SEND
    if found is None or found == (sent.size, sent.mtime_ns):
        return Verdict.SKIP
    if found[0] == sent.size and (sent.md5 or sent.sha256):
        return Verdict.COMPARE
    return changed(on_change)


def changed(on_change: OnChange) -> Verdict:
    """What to do with a row whose content is known to have changed."""
    return {OnChange.UPLOAD: Verdict.REPLACE, OnChange.SKIP: Verdict.SKIP, OnChange.FAIL: Verdict.REFUSE}[on_change]


class Planned(NamedTuple):
    """A row that will be sent.

    Attributes:
        share: rows with the same value may share one init; or, if bundled, make one document.
        size: of its file, in bytes, as far as known.
        alone: it must not share an init.
        orphan: a record of it that got no bytes; empty: there may be one, of unknown id.
    """

    document: Document[Columns]
    share: str
    bundled: bool
    size: int
    alone: bool = False
    orphan: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents that one init will carry.

    Attributes:
        bundled: they become one document of several files, so they succeed or fail together.
        round: how many inits were made for it before.
        reread: ids of documents whose file changed while it was sent; a second time is an error.
        orphans: by the document's id, the record of an earlier init that got no bytes; see `Planned.orphan`.
    """

    documents: tuple[Document[Columns], ...]
    bundled: bool = False
    size: int = 0
    round: int = 0
    reread: frozenset[int] = field(default=frozenset())
    orphans: Mapping[int, str] = field(default_factory=dict)


class Planner:
    """Makes batches of rows as they come page by page; rows that may share an init come beside each other."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._held: list[Planned] = []

    def add(self, rows: Sequence[Planned]) -> list[Batch]:
        """The batches that are full now, mixed by size; what may still grow is held back."""
        batches = [_batch([row]) for row in rows if row.alone and not row.bundled]
        shared = [*self._held, *(row for row in rows if row.bundled or not row.alone)]
        units = [list(unit) for _, unit in groupby(shared, key=lambda row: (row.share, row.bundled))]
        if not units:
            return batches
        growing = units.pop()
        batches += [batch for unit in units for batch in self._cut(unit)]
        full = 0 if growing[0].bundled else len(growing) - len(growing) % self._max_batch
        batches += self._cut(growing[:full])
        self._held = growing[full:]
        return mix(batches)

    def flush(self) -> list[Batch]:
        """What was held back."""
        held, self._held = self._held, []
        return self._cut(held)

    def _cut(self, unit: Sequence[Planned]) -> list[Batch]:
        if not unit:
            return []
        step = len(unit) if unit[0].bundled else self._max_batch
        return [_batch(unit[start : start + step]) for start in range(0, len(unit), step)]


def _batch(rows: Sequence[Planned]) -> Batch:
    return Batch(
        tuple(row.document for row in rows),
        rows[0].bundled,
        sum(row.size for row in rows),
        orphans={row.document.id: row.orphan for row in rows if row.orphan is not None},
    )


def mix(batches: Iterable[Batch]) -> list[Batch]:
    """Large and small in turn, the largest first, so that a run does not end with a tail of the largest."""
    ordered = sorted(batches, key=lambda batch: batch.size, reverse=True)
    half = (len(ordered) + 1) // 2
    mixed: list[Batch] = []
    for index in range(half):
        mixed.append(ordered[index])
        if index + half < len(ordered):
            mixed.append(ordered[len(ordered) - 1 - index])
    return mixed


def split(batch: Batch) -> list[Batch]:
    """A refused batch in parts, so that the file that was refused is found.

    By file extension first, the one documented reason that concerns a single file (LightReach's guide, "Allowed file
    extensions"), then by halves.
    """
    by_extension: dict[str, list[Document[Columns]]] = {}
    for document in batch.documents:
        by_extension.setdefault(document.filename.rpartition(".")[2].lower(), []).append(document)
    parts = list(by_extension.values())
    if len(parts) == 1:
        middle = len(batch.documents) // 2
        parts = [list(batch.documents[:middle]), list(batch.documents[middle:])]
    return [only(batch, {document.id for document in part}) for part in parts]


def only(batch: Batch, ids: Iterable[int], *, reread: Iterable[int] = ()) -> Batch:
    """The same batch with some of its documents, for another round."""
    wanted = set(ids)
    return Batch(
        tuple([document for document in batch.documents if document.id in wanted]),
        batch.bundled,
        batch.size,
        batch.round,
        batch.reread | frozenset(reread),
        {id_: orphan for id_, orphan in batch.orphans.items() if id_ in wanted},
    )


def cut(batch: Batch, max_batch: int) -> list[Batch]:
    """A batch in parts of at most ``max_batch``, for a flow that carries fewer; a bundle stays whole."""
    if batch.bundled or len(batch.documents) <= max_batch:
        return [batch]
    ids = [document.id for document in batch.documents]
    return [only(batch, ids[start : start + max_batch]) for start in range(0, len(ids), max_batch)]
