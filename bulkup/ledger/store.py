"""The ledger itself: one database, kept across runs. Blocking; the engine calls it from one thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import lru_cache
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    Connection,
    Row,
    RowMapping,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from bulkup.errors import BulkupError, LedgerError, LedgerReadError, LedgerWriteError
from bulkup.ledger import admission as admitting
from bulkup.ledger import database, sharded
from bulkup.ledger.admission import Admission
from bulkup.ledger.common import decoded
from bulkup.ledger.leases import EVERYTHING, Lease, Span, within
from bulkup.ledger.marks import GivenUp, Mark, write
from bulkup.ledger.records import Candidate, Leftover, Orphan, Parse
from bulkup.ledger.schema import Fate, documents, former_documents, incoming, meta, runs
from bulkup.ledger.sharded import Mine
from bulkup.location import Location
from bulkup.model import SKIPPED, Content, Document, Stage, State
from bulkup.rows import Complaint, Invalid
from bulkup.rows import Row as ManifestRow

_CANDIDATE = [
    cast(documents.c.cells, Text) if name == "cells" else documents.c[name]
    for name in (
        *("id", "key", "row", "provider", "target", "path", "filename", "cells", "share", "bundled", "alone", "orphan"),
        *("state", "run_id", "size", "mtime_ns", "md5", "sha256"),
    )
]
"""What a candidate is made of, in this order: names cost more than positions, and there are many rows."""

_CELLS_KEPT = 256

_HALFWAY = [State.INITIATED.value, State.STORED.value, State.UNKNOWN.value]


class Ledger:
    """A ledger database, open from the start; a context manager that closes it.

    Args:
        location: where it is; None: a ledger that is forgotten when it is closed.
        exclusive: for a run: see `database.opened`.
        parse: makes a provider's columns of stored cells.

    Attributes:
        name: what users are told it is called.
        lease: a worker's, without which it may not write; None: whoever holds the ledger needs none.

    Raises:
        LedgerError: it can't be opened, is newer than this bulkup, or is in use.
    """

    def __init__(self, location: Location | None, *, parse: Parse, exclusive: bool = True) -> None:
        self.name = database.name(location)
        self.lease: Lease | None = None
        self._parse = parse
        # rows with equal cells come one after the other, and it takes longer to read cells than a row
        self._columns = lru_cache(_CELLS_KEPT)(lambda provider, cells: parse(provider, decoded(cells)))
        with ExitStack() as stack:
            self._connection = database.opened(location, stack, exclusive=exclusive)
            self._resources = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give it back; other runs may use it then."""
        self._resources.close()

    # --- taking a manifest in -------------------------------------------------------------------------------------

    def stage(
        self,
        items: Iterable[ManifestRow | Invalid | Complaint],
        name: str,
        max_bundle: Mapping[str, int],
        complain: Callable[[Complaint], None],
    ) -> Admission:
        """Read a manifest's rows without touching the ledger.

        Args:
            name: the manifest's, as the user gave it.
            max_bundle: for each provider how many files one document may have.
            complain: told of each complaint as it is found.
        """
        with self.transaction(LedgerError):
            return admitting.stage(self._connection, items, name, max_bundle, complain)

    def staged_providers(self) -> list[str]:
        """The providers that the staged rows name."""
        query = select(incoming.c.provider).where(incoming.c.error.is_(None)).distinct()
        return sorted(self._connection.scalars(query))

    def keep_staged(self, mine: Mine) -> int:
        """Unstage all rows but those that belong to this machine; gives their number."""
        with self.transaction(LedgerError):
            return sharded.keep(self._connection, mine)

    def admit(
        self, manifest: str, run_id: str, now: str, *, rows: int, keep: bool = True, mine: Mine | None = None
    ) -> None:
        """Make the staged rows those of a run.

        Args:
            manifest: the manifest's absolute path.
            keep: False leaves the transaction open, to be rolled back by `forget`: a dry run.
            mine: which bad rows of earlier runs are forgotten; None: all of the manifest's.
        """
        with self.transaction(LedgerError, commit=keep):
            admitting.start_run(self._connection, run_id, manifest, now, rows)
            admitting.merge(self._connection, manifest, run_id, now, mine)

    def forget(self) -> None:
        """Undo what `admit` did with ``keep=False``."""
        self._connection.rollback()

    def secret(self) -> bytes:
        """A secret of this ledger's own, made when it is first asked for."""
        named = meta.c.name == "secret"
        found = self._connection.scalar(select(meta.c.value).where(named))
        if found is None:
            found = token_hex(32)
            with self.transaction():
                self._connection.execute(insert(meta).values(name="secret", value=found))
        return bytes.fromhex(found)

    # --- what is to be done ---------------------------------------------------------------------------------------

    def candidates(
        self, run_id: str, provider: str, after: Candidate | None, limit: int, span: Span = EVERYTHING
    ) -> list[Candidate]:
        """The next rows of a span that may have to be sent, those that belong together beside each other."""
        d = documents.c
        order = (d.bundled, d.share, d.row)
        other = documents.alias()
        undecided = exists().where(
            other.c.admitted_by == run_id,
            other.c.provider == provider,
            other.c.bundled == d.bundled,  # so that the index is used to its end
            other.c.share == d.share,
            other.c.state.in_(_HALFWAY),
        )
        query = (
            select(*_CANDIDATE)
            .where(d.admitted_by == run_id, d.provider == provider, *within(span))
            .where(
                or_(
                    d.state == State.PENDING.value,
                    and_(d.state == State.COMPLETED.value, or_(d.run_id != run_id, d.bundled)),
                )
            )
            .where(or_(~d.bundled, ~undecided))  # a group waits until all of its files are decided
            .order_by(*order)
            .limit(limit)
        )
        if after is not None:
            query = query.where(tuple_(*order) > tuple_(after.bundled, after.share, after.document.number))
        return [self._candidate(row, run_id) for row in self._connection.execute(query)]

    def leftovers(
        self, run_id: str, provider: str, after: Leftover | None, limit: int, *, ended: bool = True
    ) -> list[Leftover]:
        """Rows that were left half-way, those of one job together.

        Args:
            ended: those too that an earlier run ended as unknown, or as failed for good.
        """
        d = documents.c
        order = (func.coalesce(d.job_id, ""), d.target, func.coalesce(d.flow, ""), d.id)
        halfway = d.state.in_(_HALFWAY if ended else [State.INITIATED.value, State.STORED.value])
        left = or_(halfway, and_(d.state == State.FAILED.value, ~d.retriable)) if ended else halfway
        query = (
            select(documents)
            .where(d.admitted_by == run_id, d.provider == provider)
            .where(left)
            .order_by(*order)
            .limit(limit)
        )
        if after is not None:
            last = (after.job_id or "", after.document.target, after.flow, after.document.id)
            query = query.where(tuple_(*order) > tuple_(*last))
        return [self._leftover(row) for row in self._connection.execute(query)]

    def claimed(self, provider: str, target: str) -> frozenset[str]:
        """Ids of all records of a target that the ledger holds."""
        d = documents.c
        there = and_(d.provider == provider, d.target == target)
        former = select(former_documents.c.document_id).join(documents).where(there)
        queries = (select(d.document_id).where(there), select(d.orphan).where(there), former)
        return frozenset(id_ for query in queries for id_ in self._connection.scalars(query) if id_)

    def slowest_job(self, provider: str) -> float:
        """The longest a vendor took lately from the last byte to its word that a document is complete, in seconds."""
        d = documents.c
        query = (
            select(d.stored_at, d.finished_at)
            .join(runs, runs.c.run_id == d.run_id)
            .where(d.provider == provider, d.state == State.COMPLETED.value, d.stored_at >= runs.c.started_at)
            .order_by(d.id.desc())
            .limit(1000)
        )
        times = self._connection.execute(query).all()
        return max((_moment(finished) - _moment(stored) for stored, finished in times), default=0.0)

    def providers(self, run_id: str) -> list[str]:
        """The providers that a run's rows name."""
        query = select(documents.c.provider).where(documents.c.admitted_by == run_id).distinct()
        return sorted(filter(None, self._connection.scalars(query)))

    # --- what happened --------------------------------------------------------------------------------------------

    def write(self, marks: Sequence[Mark]) -> None:
        """Write marks, durably.

        Raises:
            LedgerWriteError: it can't be written any more.
        """
        with self.transaction():
            write(self._connection, marks)

    def release(self, keys: Sequence[str]) -> list[str]:
        """Make failed rows pending again that no run would repeat by itself; gives the keys of all that are failed.

        A record that the vendor made for one is its orphan from now on.
        """
        d = documents.c
        failed = and_(d.key.in_(keys), d.state == State.FAILED.value, d.stage != Stage.MANIFEST.value)
        with self.transaction():
            found = list(self._connection.scalars(select(d.key).where(failed)))
            again = {"state": State.PENDING.value, "retriable": True, "orphan": func.coalesce(d.document_id, d.orphan)}
            nothing = dict.fromkeys(("document_id", "job_id", "stored_at", "stage", "error_code", "error"))
            self._connection.execute(update(documents).where(failed, ~d.retriable).values(**again, **nothing))
        return found

    def finish_run(self, run_id: str, now: str, summary: Mapping[str, object]) -> None:
        """Note that a run ended, and how."""
        with self.transaction():
            self._connection.execute(
                update(runs).where(runs.c.run_id == run_id).values(finished_at=now, summary=dict(summary))
            )

    def states(self, run_id: str) -> dict[str, int]:
        """How many rows of a run's manifest are in each state; completed by an earlier run counts as ``skipped``."""
        d = documents.c
        skipped = and_(d.state == State.COMPLETED.value, d.run_id != run_id)
        said = case((skipped, literal(SKIPPED)), else_=d.state).label("said")
        query = select(said, func.count()).where(d.admitted_by == run_id).group_by("said")
        return {state: count for state, count in self._connection.execute(query)}  # noqa: C416 - dict() is not typed

    def invalid(self, run_id: str) -> list[dict[str, Any]]:
        """The rows of a run that could not be sent at all."""
        query = select(documents).where(documents.c.admitted_by == run_id, documents.c.stage == Stage.MANIFEST.value)
        return [_plain(row) for row in self._connection.execute(query.order_by(documents.c.row)).mappings()]

    def rows(self, state: State | None = None, run_id: str | None = None) -> Iterator[dict[str, Any]]:
        """All rows, as they stand, in the order they were admitted."""
        query = select(documents).order_by(documents.c.id)
        if state is not None:
            query = query.where(documents.c.state == state.value)
        if run_id is not None:
            query = query.where(documents.c.run_id == run_id)
        for row in self._connection.execution_options(yield_per=1000).execute(query).mappings():
            yield _plain(row)

    def totals(self) -> dict[State, int]:
        """How many rows are in each state."""
        query = select(documents.c.state, func.count()).group_by(documents.c.state)
        return {State(state): count for state, count in self._connection.execute(query)}

    def reasons(self) -> list[tuple[str, str, str, int, str]]:
        """Why rows failed or are unknown: state, stage, error code, how many, and one of the errors."""
        d = documents.c
        query = (
            select(d.state, d.stage, d.error_code, func.count(), func.min(d.error))
            .where(d.state.in_([State.FAILED.value, State.UNKNOWN.value]))
            .group_by(d.state, d.stage, d.error_code)
            .order_by(func.count().desc())
        )
        return [tuple(row) for row in self._connection.execute(query)]

    def orphans(self) -> Mapping[Fate, int]:
        """How many records of the vendors never got their bytes, by what became of them."""
        fate, left = former_documents.c.fate, select(func.count()).where(documents.c.orphan != "")
        query = select(fate, func.count()).where(fate.is_not(None)).group_by(fate)
        counts = Counter({Fate(fate): count for fate, count in self._connection.execute(query)})
        counts[Fate.LEFT] += self._connection.scalar(left) or 0
        return +counts

    def records_without_bytes(self) -> list[Orphan]:
        """The vendors' records that never got their bytes, in the order of their rows."""
        d, f = documents.c, former_documents.c
        waiting = select(d.key, d.row, d.provider, d.target, d.filename, d.orphan, literal(Fate.LEFT.value))
        noted = select(d.key, d.row, d.provider, d.target, d.filename, f.document_id, f.fate).join(documents)
        query = union_all(waiting.where(d.orphan != ""), noted.where(f.fate.is_not(None))).order_by("row")
        return [
            Orphan(key, number, provider, target, filename, record, Fate(fate))
            for key, number, provider, target, filename, record, fate in self._connection.execute(query)
        ]

    def put_away(self, orphan: Orphan) -> None:
        """Note that the vendor put away a record that was left."""
        d, f = documents.c, former_documents.c
        with self.transaction():
            (id_,) = self._connection.execute(select(d.id).where(d.key == orphan.key)).one()
            if self._connection.scalar(select(d.orphan).where(d.id == id_)) == orphan.record:
                write(self._connection, [GivenUp(id_, orphan.record, Fate.ARCHIVED)])
            there = and_(f.document == id_, f.document_id == orphan.record)
            self._connection.execute(update(former_documents).where(there).values(fate=Fate.ARCHIVED.value))

    def runs(self, limit: int) -> list[dict[str, Any]]:
        """The last runs, newest first."""
        query = select(runs).order_by(runs.c.started_at.desc()).limit(limit)
        found = self._connection.execute(query).mappings()
        return [_plain(row) for row in found]

    # --- helpers --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(
        self, error_type: type[BulkupError] = LedgerWriteError, *, commit: bool = True
    ) -> Iterator[Connection]:
        """What is written within is durable afterwards, all of it or nothing; for this package."""
        try:
            if self.lease is not None:
                self.lease.renew(self._connection)
            yield self._connection
            if commit:
                self._connection.commit()
            if self.lease is not None:
                self.lease.renewed()
        except LedgerReadError as error:
            self._connection.rollback()
            raise error_type(f"{self.name}: can't write the ledger: {error.words}") from None
        except BaseException:
            self._connection.rollback()
            raise

    def _candidate(self, row: Sequence[Any], run_id: str) -> Candidate:
        id_, key, number, provider, target, path, filename, cells, share, bundled, alone, orphan, *rest = row
        state, by, size, mtime_ns, md5, sha256 = rest
        document = Document(id_, key, number, provider, target, path, filename, self._columns(provider, cells))
        sent = Content(size or 0, mtime_ns or 0, md5, sha256) if state == State.COMPLETED.value else None
        return Candidate(document, share, bundled, sent, sent is not None and by == run_id, alone, orphan)

    def _leftover(self, row: Row[Any]) -> Leftover:
        columns = self._parse(row.provider, row.cells)
        return Leftover(
            Document(row.id, row.key, row.row, row.provider, row.target, row.path, row.filename, columns),
            row.share,
            row.bundled,
            State(row.state),
            row.flow or "",
            row.job_id,
            row.document_id,
            Content(row.size or 0, row.mtime_ns or 0, row.md5, row.sha256),
            row.initiated_at or "",
            row.finished_at or "",
            row.stage,
            row.error_code,
            row.error,
        )


def _plain(row: RowMapping) -> dict[str, Any]:
    """A row as an ordinary dict."""
    return {str(name): value for name, value in row.items()}


def _moment(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
