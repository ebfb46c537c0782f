"""``--shard``: which staged rows, and which bad rows of an earlier run, are this machine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, Integer, Table, delete, literal, select

from bulkup.ledger.given import given, rows
from bulkup.ledger.schema import documents, incoming
from bulkup.model import Stage
from bulkup.sharding import Facts

Mine = Callable[[Facts], bool]

_PAGE = 5000
_given = given(row=Integer)


def keep(connection: Connection, mine: Mine) -> int:
    """Unstage the rows that are other machines'; gives the number of those that are left."""
    everything = literal(True)  # noqa: FBT003 - a column's value
    kept = 0
    for page in _pages(connection, incoming, everything):
        others = [facts.row for facts in page if not mine(facts)]
        _forget(connection, incoming, everything, others)
        kept += len(page) - len(others)
    return kept


def forget_bad(connection: Connection, manifest: str, mine: Mine) -> None:
    """Forget bad rows that an earlier run of the manifest noted, but for those of other machines."""
    bad = was_bad(manifest)
    for page in _pages(connection, documents, bad):
        _forget(connection, documents, bad, [facts.row for facts in page if mine(facts)])


def was_bad(manifest: str) -> ColumnElement[bool]:
    """Documents that stand for rows of a manifest which could not be sent at all."""
    d = documents.c
    return (d.manifest == manifest) & (d.stage == Stage.MANIFEST.value) & (d.attempts == 0)


def _pages(connection: Connection, table: Table, which: ColumnElement[bool]) -> Iterator[list[Facts]]:
    columns = [table.c[name] for name in Facts._fields]
    query = select(*columns).where(which).order_by(table.c.row).limit(_PAGE)
    last = 0
    while page := [Facts(*row) for row in connection.execute(query.where(table.c.row > last))]:
        yield page
        last = page[-1].row


def _forget(connection: Connection, table: Table, which: ColumnElement[bool], numbers: Sequence[int]) -> None:
    if numbers:
        chosen = delete(table).where(which, table.c.row.in_(select(_given.c.row)))
        connection.execute(chosen, rows([[number] for number in numbers]))
