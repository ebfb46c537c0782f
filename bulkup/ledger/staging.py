"""The temporary table in which a manifest's rows wait: how rows are put into it."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection, Text, insert, select
from sqlalchemy.dialects import sqlite

from bulkup.ledger.given import given
from bulkup.ledger.given import rows as parameter
from bulkup.ledger.schema import incoming
from bulkup.rows import Complaint, Invalid, Row

_COLUMNS = [column.name for column in incoming.columns]
_given = given(**{column.name: type(column.type) for column in incoming.columns})
_STAGE = insert(incoming).from_select(_COLUMNS, select(*_given.c))
_STAGE_TUPLES = str(insert(incoming).compile(dialect=sqlite.dialect(paramstyle="qmark")))
"""As SQLite's driver takes it, with a tuple for each row: less than half of what a row as JSON costs there."""

_keys = given(key=Text)
_TAKEN = select(incoming.c.key, incoming.c.row).join(_keys, incoming.c.key == _keys.c.key)


def put(connection: Connection, rows: Sequence[Sequence[object]]) -> None:
    """Stage rows as `values`, `refused` and `invalid` give them."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_STAGE_TUPLES, rows)
    else:
        connection.execute(_STAGE, parameter(rows))


def keys_taken(connection: Connection, keys: list[str]) -> dict[str, int]:
    """The keys that are staged already, and the numbers of their rows."""
    found = connection.execute(_TAKEN, parameter([[key] for key in keys]))
    return {key: row for key, row in found}  # noqa: C416 - dict() of Rows is not typed


def values(row: Row, error: str | None = None) -> tuple[object, ...]:
    """A row as `put` takes it; one with an error is in no bundle, and has no key."""
    return (
        row.number,
        row.key if error is None else None,
        row.provider,
        row.target,
        row.path,
        row.filename,
        orjson.dumps(row.cells).decode(),
        row.share,
        row.bundled and error is None,
        row.group,
        error,
    )


def invalid(row: Invalid) -> tuple[object, ...]:
    """A row that could not be read."""
    return (
        row.number,
        None,
        row.provider,
        "",
        row.path,
        row.filename,
        orjson.dumps(row.cells).decode(),
        row.share,
        row.bundled,
        row.group,
        "; ".join(without_file(complaint) for complaint in row.complaints),
    )


def refused(row: Row, *complaints: Complaint) -> tuple[object, ...]:
    """A good row that can't be sent all the same."""
    return values(row, "; ".join(without_file(complaint) for complaint in complaints))


def without_file(complaint: Complaint) -> str:
    """What is said of a row in the ledger, which knows its manifest."""
    return str(complaint).removeprefix(f"{complaint.file}: ")
