"""Several ledgers made one, for people who ran a manifest on several machines: all of them, or nothing.

Two passes. The first reads the keys of all ledgers side by side, in their order, and writes nothing; the second copies
row by row. Neither holds more than a page of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge as in_order
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Text, collate, delete, insert, or_, select

from bulkup.errors import LedgerError, LedgerReadError
from bulkup.ledger.database import name, opened
from bulkup.ledger.given import given, rows
from bulkup.ledger.schema import documents, former_documents, runs
from bulkup.location import Location
from bulkup.model import Stage

_PAGE = 1000

_said = or_(documents.c.attempts > 0, documents.c.stage == Stage.MANIFEST.value)
"""Whether a row tells of something: it was announced to its vendor, or is so bad that it has no key of its own."""

_keys = given(key=Text)
_THERE = select(documents.c.key, documents.c.id).join(_keys, documents.c.key == _keys.c.key)


@dataclass(frozen=True, slots=True)
class Merged:
    """What was added to a ledger."""

    rows: int
    runs: int


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    connection: Connection


def merge(sources: Sequence[Location], target: Location) -> Merged:
    """Add what several ledgers hold to another one, in one transaction; blocks.

    A key that was announced to its vendor may be in one of them only. Of rows with one key the one that was gives way
    to none; of those that never were, the first stays.

    Args:
        sources: where they are; locked meanwhile, as by a run, and not changed.
        target: made if it is not there; what it holds stays as it is.

    Raises:
        LedgerError: one is not there, is in use or can't be used; one is named twice; they overlap. Nothing is merged
            then.
    """
    _refuse_twice([*sources, target])
    with ExitStack() as stack:
        read = [_Source(name(each), _opened(each, stack)) for each in sources]
        current = read[0]
        try:
            _refuse_overlaps(read)
            into = _Source(name(target), opened(target, stack, exclusive=True))
            if into.connection.scalar(select(documents.c.id).limit(1)) is not None:
                _refuse_overlaps([into, *read])
            added = Merged(0, 0)
            for current in read:
                copied = _copy_documents(current.connection, into.connection)
                added = Merged(added.rows + copied, added.runs + _copy_runs(current.connection, into.connection))
            into.connection.commit()
        except LedgerReadError as error:
            failed, what = error.place or current.name, "write" if error.place == name(target) else "read"
            raise LedgerError(f"{failed}: can't {what} the ledger: {error.words}; nothing was merged") from None
    return added


def _opened(location: Location, stack: ExitStack) -> Connection:
    if location.missing:
        raise LedgerError(f"{location}: there is no ledger here")
    return opened(location, stack, exclusive=True, create=False)


def _refuse_twice(locations: Sequence[Location]) -> None:
    """A ledger that is named twice would be found locked, by ourselves."""
    seen: set[object] = set()
    for location in locations:
        what = location.url if location.file is None else location.file.resolve()
        if what in seen:
            raise LedgerError(f"{location}: is named twice")
        seen.add(what)


def _refuse_overlaps(ledgers: Sequence[_Source]) -> None:
    """Raise `LedgerError` if several ledgers tell of one key."""
    found = _overlaps(ledgers)
    first = next(found, None)
    if first is not None:
        count = 1 + sum(1 for _ in found)
        key = repr(first[0]) if first[0].isprintable() else ascii(first[0])
        example = f"{key} is in {' and in '.join(first[1])} ({count} such key{'s' if count > 1 else ''})"
        raise LedgerError(f"the ledgers overlap, so nothing was merged: {example}")


def _overlaps(ledgers: Sequence[_Source]) -> Iterator[tuple[str, list[str]]]:
    """Each key that several ledgers tell of, and their names."""
    known = in_order(*(_known(ledger, place) for place, ledger in enumerate(ledgers)))
    for key, group in groupby(known, itemgetter(0)):
        telling = [ledgers[place].name for _, place, said in group if said]
        if len(telling) > 1:
            yield key, telling


def _known(ledger: _Source, place: int) -> Iterator[tuple[str, int, bool]]:
    """The keys of a ledger in the order of their code points, and whether it tells of them."""
    key = documents.c.key
    order = key if ledger.connection.dialect.name == "sqlite" else collate(key, "C")
    query = select(key, _said).order_by(order).execution_options(yield_per=_PAGE)
    for each, said in ledger.connection.execute(query):
        yield each, place, bool(said)


def _copy_documents(source: Connection, target: Connection) -> int:
    """Copy the rows with their history; gives how many more there are."""
    added, last = 0, 0
    query = select(documents, _said.label("said")).order_by(documents.c.id).limit(_PAGE)
    while page := source.execute(query.where(documents.c.id > last)).mappings().all():
        there = _ids(target, [row["key"] for row in page])
        fresh = {row["id"]: row for row in page if row["said"] or row["key"] not in there}
        given_way = [there[row["key"]] for row in fresh.values() if row["key"] in there]
        if given_way:
            target.execute(delete(documents).where(documents.c.id.in_(given_way)))
        if fresh:
            target.execute(insert(documents), [_values(row, "id", "said") for row in fresh.values()])
        _copy_history(source, target, fresh, page[0]["id"], page[-1]["id"])
        added += len(fresh) - len(given_way)
        last = page[-1]["id"]
    return added


def _copy_history(source: Connection, target: Connection, fresh: Mapping[int, Any], first: int, last: int) -> None:
    """Copy what the vendor had of copied rows before; their numbers are others now."""
    f = former_documents.c
    query = select(former_documents).where(f.document.between(first, last)).order_by(f.id)
    found = [former for former in source.execute(query).mappings() if former["document"] in fresh]
    if found:
        ids = _ids(target, [fresh[former["document"]]["key"] for former in found])
        values = [_values(former, "id") | {"document": ids[fresh[former["document"]]["key"]]} for former in found]
        target.execute(insert(former_documents), values)


def _copy_runs(source: Connection, target: Connection) -> int:
    """Copy the runs that are not there yet; gives their number."""
    there = set(target.scalars(select(runs.c.run_id)))
    found = [run for run in source.execute(select(runs)).mappings() if run["run_id"] not in there]
    for run in found:  # one by one, since None as a value of JSON would be its null
        target.execute(insert(runs).values({column: value for column, value in run.items() if value is not None}))
    return len(found)


def _ids(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """The numbers of the rows that have one of the keys."""
    found = connection.execute(_THERE, rows([[key] for key in keys]))
    return {key: id_ for key, id_ in found}  # noqa: C416 - dict() of Rows is not typed


def _values(row: Mapping[Any, Any], *without: str) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column not in without}
