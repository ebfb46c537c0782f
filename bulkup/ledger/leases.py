"""Who carries out which part of a run, where several processes share it.

A run is cut into shards, which are ranges of its plan. A worker claims one after the other. It may write as long as
its lease is not over and nobody gave it up; each of its writes renews the lease first, in the same transaction, and
fails otherwise. An id is never given again, so a worker that was given up stays out for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from bulkup.errors import LeaseLostError
from bulkup.ledger.schema import documents, notices, shards, workers
from bulkup.model import State

if TYPE_CHECKING:
    from bulkup.ledger.store import Ledger

Place = tuple[bool, str, int]
"""Where a row stands in the plan of its provider: `bundled`, `share` and number."""


class Order(IntEnum):
    """What a worker is told to do."""

    GO_ON = 0
    WIND_DOWN = 1
    """Take no more rows, finish what is in flight."""
    STOP = 2


class Span(NamedTuple):
    """A range of a provider's rows in the order of the plan.

    Attributes:
        id: of its shard; None: it is none.
        start: its first row; None: that of the plan.
        end: the first row that is none of its; None: there is no such row.
    """

    id: int | None = None
    start: Place | None = None
    end: Place | None = None


EVERYTHING = Span()
"""All of a plan."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a run, as the ledger knows it.

    Attributes:
        name: as it registered.
        ended: it may write no more.
        lost: it was given up, and did not say that it ended.
        silent: its lease is over, and it was not given up yet.
        requests: how many it sent.
    """

    id: int
    name: str
    ended: bool
    lost: bool
    silent: bool
    requests: int


class _Now(FunctionElement[float]):
    """Seconds since the epoch, by the clock that all who share a ledger have in common: the database's."""

    inherit_cache = True
    name = "bulkup_now"
    type = Double()


@compiles(_Now)
def _now(_element: _Now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_Now, "postgresql")
def _now_in_postgresql(_element: _Now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Lease:
    """A worker's right to write and to send, as long as it is renewed.

    Args:
        worker: its id.
        seconds: how long it lasts without being renewed.
    """

    def __init__(self, worker: int, seconds: float) -> None:
        mine = and_(workers.c.id == worker, ~workers.c.ended)
        self.worker = worker
        self._renewal = update(workers).where(mine).values(lease_until=_Now() + seconds)
        self._seconds = seconds
        self._began = _clock()
        self._until = self._began + _USED * seconds

    @property
    def held(self) -> bool:
        """Whether it may still send: by a clock that goes on while it is stopped, and before others take over."""
        return _clock() < self._until

    def renew(self, connection: Connection) -> None:
        """Begin a transaction of the worker; raises `LeaseLostError`."""
        self._began = _clock()
        if connection.execute(self._renewal).rowcount != 1:
            raise LeaseLostError("this worker was silent for too long and was given up: others go on with its rows")

    def renewed(self) -> None:
        """That transaction is durable."""
        self._until = self._began + _USED * self._seconds


_STANDING_STILL: Mapping[str, Callable[[int], str]] = {
    "sqlite": lambda lease: f"PRAGMA busy_timeout={2 * lease + 10_000}",
    "postgresql": lambda lease: f"SET idle_in_transaction_session_timeout = {lease}",
}
"""What a worker's connection is told for the case that one stands still in the middle of a transaction, by the dialect;
milliseconds. It holds all of SQLite until the coordinator ends it, and of PostgreSQL rows until the server does."""

_LONG_AGO = 1.0
"""When the lease of a worker was over that is no more; of one that ended by itself it is 0."""

_USED = 0.8
"""The part of a lease in which its worker sends: whoever was about to when it ended is done before it is over."""


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where it has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leases:
    """The parts of one run, and who has them. Blocking, as the ledger is.

    Args:
        ledger: a coordinator's, or a worker's own, behind its fence.
        run_id: the run's.
    """

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._mine = shards.c.run_id == run_id
        self._free = and_(self._mine, shards.c.worker.is_(None))

    # --- what a worker does ---------------------------------------------------------------------------------------

    def register(self, name: str, seconds: float) -> Lease:
        """Make a worker known, under a name of its own; from now on it writes only while it holds its lease."""
        facts = {"run_id": self._run_id, "name": name, "ended": False, "told": Order.GO_ON, "requests": 0}
        with self._ledger.transaction() as connection:
            connection.exec_driver_sql(_STANDING_STILL[connection.dialect.name](int(1000 * seconds)))
            connection.execute(insert(workers).values(**facts, lease_until=_Now() + seconds))
            lease = Lease(connection.execute(select(workers.c.id).where(workers.c.name == name)).scalar_one(), seconds)
        self._ledger.lease = lease
        return lease

    def claim(self, provider: str, worker: int) -> Span | None:
        """The next shard of a provider that nobody has; None: there is none."""
        theirs = shards.c.provider == provider
        first = select(shards.c.id).where(self._free, theirs).order_by(shards.c.id).limit(1)
        next_ = first.with_for_update(skip_locked=True).scalar_subquery()
        with self._ledger.transaction() as connection:
            if connection.execute(update(shards).where(shards.c.id == next_).values(worker=worker)).rowcount == 0:
                return None
            latest = select(shards).where(self._mine, theirs, shards.c.worker == worker).order_by(shards.c.id.desc())
            return _span(connection.execute(latest.limit(1)).one())

    def fed(self, span: Span) -> None:
        """Note that a worker looked at all rows of a shard."""
        with self._ledger.transaction() as connection:
            connection.execute(update(shards).where(shards.c.id == span.id).values(fed=True))

    def renew(self, worker: int, requests: int) -> Order:
        """Say how many requests a worker sent; gives what it is told to do. Raises `LeaseLostError`."""
        me = workers.c.id == worker
        with self._ledger.transaction() as connection:
            connection.execute(update(workers).where(me).values(requests=requests))
            return Order(connection.execute(select(workers.c.told).where(me)).scalar_one())

    def release(self, worker: int, requests: int) -> None:
        """A worker ended, and has nothing in flight."""
        values = {"ended": True, "lease_until": 0.0, "requests": requests}
        with self._ledger.transaction() as connection:
            connection.execute(update(workers).where(workers.c.id == worker).values(values))

    def say(self, text: str, gist: str) -> None:
        """Have whoever watches the run tell something."""
        with self._ledger.transaction() as connection:
            connection.execute(insert(notices).values(run_id=self._run_id, text=text, gist=gist))

    # --- what a coordinator does ----------------------------------------------------------------------------------

    def cut(self, rows: int, whole_targets: Mapping[str, bool]) -> int:
        """Cut a run into shards of so many rows or a few more; gives how many they are.

        What becomes one document stays in one shard.

        Args:
            whole_targets: the providers that take part; whether all rows of a target have to be in one shard.
        """
        with self._ledger.transaction() as connection:
            found = [
                (provider, place)
                for provider, whole in whole_targets.items()
                for place in self._starts(connection, provider, rows, whole=whole)
            ]
            values = [
                {"run_id": self._run_id, "provider": provider, "fed": False}
                | _named("start", place)
                | _named("end", next_ if theirs == provider else None)
                for (provider, place), (theirs, next_) in zip(found, [*found[1:], ("", None)], strict=True)
            ]
            if values:
                connection.execute(insert(shards), values)
        return len(values)

    def _starts(self, connection: Connection, provider: str, rows: int, *, whole: bool) -> list[Place | None]:
        """Where the shards of a provider begin; the first one at the plan's very start."""
        d = documents.c
        order, mine = (d.bundled, d.share, d.row), and_(d.admitted_by == self._run_id, d.provider == provider)
        position = func.row_number().over(order_by=order).label("position")
        numbered = select(*order, d.target, position).where(mine).subquery("numbered").c
        every = select(numbered.bundled, numbered.share, numbered.row, numbered.target)
        every = every.where((numbered.position - 1) % rows == 0).order_by(numbered.position)
        starts: list[Place | None] = []
        last: Place = (False, "", -1)
        for bundled, share, row, target in connection.execute(every).all():
            place = _place(bundled, share, 0 if bundled else row)
            if whole:
                first = select(*order).where(mine, d.target == target).order_by(*order).limit(1)
                place = _place(*connection.execute(first).one())
            if not starts:
                starts.append(None)
            elif place > last:
                starts.append(place)
            else:
                continue
            last = place
        return starts

    def close(self, order: Order) -> None:
        """Have no more shards claimed, and tell the workers what to do."""
        with self._ledger.transaction() as connection:
            connection.execute(delete(shards).where(self._free))
            connection.execute(update(workers).where(workers.c.run_id == self._run_id).values(told=order))

    def expire(self, gone: Collection[str] = ()) -> None:
        """Give up workers whose lease is over, and those of a name that surely are no more.

        If there are none it only reads: nobody can keep it waiting.
        """
        at_work = and_(workers.c.run_id == self._run_id, ~workers.c.ended)
        over, surely = workers.c.lease_until < _Now(), workers.c.name.in_(gone)
        with self._ledger.transaction() as connection:
            if not connection.scalar(select(exists().where(at_work, or_(over, surely)))):
                return
            connection.execute(update(workers).where(at_work, over).values(ended=True))
            connection.execute(update(workers).where(at_work, surely).values(ended=True, lease_until=_LONG_AGO))

    def dismiss(self, gone: Collection[str]) -> None:
        """Give up all workers, of whom those of some names surely are no more; see `lapse` for the others."""
        self.expire(gone)
        with self._ledger.transaction() as connection:
            connection.execute(update(workers).where(workers.c.run_id == self._run_id).values(ended=True))

    def team(self) -> list[Worker]:
        """The workers of the run."""
        w = workers.c
        silent = and_(~w.ended, w.lease_until < _Now())
        query = select(w.id, w.name, w.ended, and_(w.ended, w.lease_until > 0), silent, w.requests)
        with self._ledger.transaction() as connection:
            found = connection.execute(query.where(w.run_id == self._run_id).order_by(w.id)).all()
        return [
            Worker(id_, name, ended, bool(lost), bool(silent), requests)
            for id_, name, ended, lost, silent, requests in found
        ]

    def heard(self, after: int) -> list[tuple[int, str, str]]:
        """What workers said since a notice: number, text and gist of each."""
        n = notices.c
        query = select(n.id, n.text, n.gist).where(n.run_id == self._run_id, n.id > after).order_by(n.id)
        with self._ledger.transaction() as connection:
            return [(id_, text, gist) for id_, text, gist in connection.execute(query)]

    def free(self) -> int:
        """How many shards nobody has claimed."""
        with self._ledger.transaction() as connection:
            return connection.scalar(select(func.count()).where(self._free)) or 0

    def claimed(self) -> list[tuple[str, Span]]:
        """The shards that workers have or had, with their providers."""
        return self._spans(shards.c.worker.is_not(None))

    def left(self) -> list[tuple[str, Span]]:
        """The shards, with their providers, that nobody claimed, or not all of whose rows were seen to for sure."""
        lost = select(workers.c.id).where(workers.c.lease_until > 0)  # it did not say that it ended
        return self._spans(or_(shards.c.worker.is_(None), ~shards.c.fed, shards.c.worker.in_(lost)))

    def lapse(self) -> float:
        """Seconds until no worker of an earlier run can send anything any more."""
        with self._ledger.transaction() as connection:
            return max(0.0, connection.scalar(select(func.max(workers.c.lease_until) - _Now())) or 0.0)

    def clear(self) -> None:
        """Forget all workers and shards, of earlier runs too; nobody may be at work."""
        with self._ledger.transaction() as connection:
            for table in (shards, workers, notices):
                connection.execute(delete(table))

    def files(self, count: int) -> list[str]:
        """Some of the run's documents that are files."""
        d = documents.c
        query = select(d.path).where(d.admitted_by == self._run_id, d.path != "", ~d.path.contains("://"))
        with self._ledger.transaction() as connection:
            return list(connection.scalars(query.limit(count)))

    def ended(self, provider: str, span: Span, *, earlier: bool) -> tuple[list[dict[str, Any]], bool]:
        """The rows of a span that came to an end in this run, and whether it has any that did not.

        Args:
            earlier: those instead that came to an end in an earlier run.
        """
        d = documents.c
        there = and_(d.admitted_by == self._run_id, d.provider == provider, *within(span))
        at_end = d.state.in_([State.COMPLETED.value, State.FAILED.value, State.UNKNOWN.value])
        columns = (d.key, d.row, d.provider, d.filename, d.state, d.size, d.document_id, d.run_id)
        then = d.run_id.is_distinct_from(self._run_id) if earlier else d.run_id == self._run_id
        query = select(*columns, d.stage, d.error_code, d.error).where(there, at_end, then).order_by(d.row)
        fed = select(shards.c.fed).where(shards.c.id == span.id)
        with self._ledger.transaction() as connection:
            open_ = not connection.scalar(fed) or connection.scalar(select(exists().where(there, ~at_end)))
            found = connection.execute(query).mappings()
            return [{str(name): value for name, value in row.items()} for row in found], bool(open_)

    def _spans(self, which: ColumnElement[bool]) -> list[tuple[str, Span]]:
        query = select(shards).where(self._mine, which).order_by(shards.c.id)
        with self._ledger.transaction() as connection:
            return [(row.provider, _span(row)) for row in connection.execute(query)]


def within(span: Span) -> list[ColumnElement[bool]]:
    """What a row's place in the plan has to fulfil."""
    order = tuple_(documents.c.bundled, documents.c.share, documents.c.row)
    conditions: list[ColumnElement[bool]] = []
    if span.start is not None:
        conditions.append(order >= tuple_(*map(literal, span.start)))
    if span.end is not None:
        conditions.append(order < tuple_(*map(literal, span.end)))
    return conditions


def _place(bundled: bool, share: str, row: int) -> Place:  # noqa: FBT001 - in the order of the columns
    return (bundled, share, row)


def _named(what: str, place: Place | None) -> dict[str, object]:
    names = (f"{what}_bundled", f"{what}_share", f"{what}_row")
    return dict(zip(names, place or (None, None, None), strict=True))


def _span(row: Any) -> Span:
    start = None if row.start_row is None else (row.start_bundled, row.start_share, row.start_row)
    end = None if row.end_row is None else (row.end_bundled, row.end_share, row.end_row)
    return Span(row.id, start, end)
