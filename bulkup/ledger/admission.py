"""Taking a manifest into the ledger: all of it or, while any row is bad, nothing.

The rows wait in a temporary table, which finds duplicate keys and oversized groups without holding them in memory;
one statement then merges them. What a row's former state means for this run is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, Text, and_, case, cast, func, insert, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable, DropTable

from bulkup.ledger.schema import documents, incoming, runs
from bulkup.model import Complaint, Invalid, Row, Stage, State

CONTENT_CHANGED = "content_changed"
"""The error code of a completed row whose file is another now, under ``--on-change fail``."""

_BAD = "\0"
_BATCH = 1000


@dataclass(slots=True)
class Admission:
    """What became of a manifest.

    Attributes:
        rows: all rows of it.
        invalid: rows that can't be sent.
        fatal: the manifest could not be read to its end.
    """

    rows: int = 0
    invalid: int = 0
    fatal: bool = False


def stage(
    connection: Connection,
    items: Iterable[Row | Invalid | Complaint],
    name: str,
    max_bundle: Mapping[str, int],
    complain: Callable[[Complaint], None],
) -> Admission:
    """Read a manifest into the temporary table.

    Args:
        items: what the reader found.
        name: the manifest's, as the user gave it.
        max_bundle: for each provider how many files one document may have.
        complain: told of each complaint as it is found.
    """
    admission = Admission()
    connection.execute(DropTable(incoming, if_exists=True))
    connection.execute(CreateTable(incoming))
    source = iter(items)
    while batch := list(islice(source, _BATCH)):
        rows: dict[str, tuple[int, dict[str, object]]] = {}
        bad: list[dict[str, object]] = []
        taken = _taken(connection, [item.key for item in batch if isinstance(item, Row)])
        for item in batch:
            if isinstance(item, Complaint):
                admission.fatal = True
                complain(item)
                continue
            admission.rows += 1
            if isinstance(item, Invalid):
                admission.invalid += 1
                for complaint in item.complaints:
                    complain(complaint)
                bad.append(_invalid(item))
            elif (first := taken.get(item.key)) is not None:
                admission.invalid += 1
                complaint = _duplicate(item, first, name)
                complain(complaint)
                bad.append(_refused(item, complaint))
            else:
                taken[item.key] = item.number
                rows[item.key] = (item.number, _values(item))
        values = [value for _, value in rows.values()] + bad
        if values:
            connection.execute(insert(incoming), values)
    for complaint, files in _oversized(connection, name, max_bundle):
        admission.invalid += files
        complain(complaint)
    return admission


def merge(connection: Connection, manifest: str, run_id: str, now: str, *, retry_unknown: bool) -> None:
    """Move the staged rows into the ledger, as rows of this run.

    A new row is pending. A failed one is pending again if a later run may send it by itself. A completed, unfinished or
    unknown one stays what it is, with the columns it was sent with.
    """
    connection.execute(
        documents.delete().where(
            documents.c.manifest == manifest,
            documents.c.stage == Stage.MANIFEST.value,
            documents.c.attempts == 0,
        )
    )
    is_bad = incoming.c.error.is_not(None)
    state = case((is_bad, literal(State.FAILED.value)), else_=literal(State.PENDING.value))
    names = ["row", "key", "provider", "target", "path", "filename", "cells", "share", "bundled"]
    key = case((is_bad, literal(f"invalid:{manifest}#") + cast(incoming.c.row, Text)), else_=incoming.c.key)
    new = select(
        *(key if name == "key" else incoming.c[name] for name in names),
        literal(manifest),
        literal(run_id),
        literal(run_id),
        state,
        case((is_bad, literal(Stage.MANIFEST.value))),
        case((is_bad, literal("invalid_row"))),
        incoming.c.error,
        case((is_bad, literal(now))),
        literal(True),  # noqa: FBT003 - a column's value
        literal(0),
    ).where(literal(True))  # noqa: FBT003 - SQLite needs a WHERE between a SELECT and its ON CONFLICT
    target = [*names, "manifest", "admitted_by", "run_id", "state", "stage", "error_code", "error", "finished_at"]
    target += ["retriable", "attempts"]
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(documents).from_select(target, new)
    told = statement.excluded
    old = documents.c
    again = [State.PENDING.value]
    unsent = or_(old.state.in_(again), and_(old.state == State.FAILED.value, old.retriable))
    if retry_unknown:
        unsent = or_(unsent, old.state == State.UNKNOWN.value)
    was_completed = and_(old.state == State.FAILED.value, old.error_code == CONTENT_CHANGED)
    fresh = and_(unsent, ~was_completed)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "row": told.row,
                "path": told.path,
                "manifest": told.manifest,
                "admitted_by": told.admitted_by,
                "state": case((was_completed, literal(State.COMPLETED.value)), (fresh, told.state), else_=old.state),
                **{
                    name: case((fresh, told[name]), else_=old[name])
                    for name in ("target", "filename", "cells", "share", "bundled", "stage", "error_code", "error")
                },
            },
        )
    )


def start_run(connection: Connection, run_id: str, manifest: str, now: str, rows: int) -> None:
    """Note that a run began."""
    connection.execute(insert(runs).values(run_id=run_id, manifest=manifest, started_at=now, rows=rows))


def _taken(connection: Connection, keys: list[str]) -> dict[str, int]:
    found = connection.execute(select(incoming.c.key, incoming.c.row).where(incoming.c.key.in_(keys)))
    return {key: row for key, row in found}  # noqa: C416 - dict() of Rows is not typed


def _values(row: Row) -> dict[str, object]:
    return {
        "row": row.number,
        "key": row.key,
        "provider": row.provider,
        "target": row.target,
        "path": row.path,
        "filename": row.filename,
        "cells": dict(row.cells),
        "share": row.share,
        "bundled": row.bundled,
        "error": None,
    }


def _bad_key(number: int) -> str:
    """A stand-in for the key of a row that has none of its own; it never meets a good row's."""
    return f"{_BAD}{number}"


def _invalid(row: Invalid) -> dict[str, object]:
    return {
        "row": row.number,
        "key": _bad_key(row.number),
        "provider": row.provider,
        "target": "",
        "path": row.path,
        "filename": row.filename,
        "cells": dict(row.cells),
        "share": "",
        "bundled": False,
        "error": "; ".join(_without_file(complaint) for complaint in row.complaints),
    }


def _refused(row: Row, complaint: Complaint) -> dict[str, object]:
    return _values(row) | {"key": _bad_key(row.number), "error": _without_file(complaint), "bundled": False}


def _without_file(complaint: Complaint) -> str:
    return str(complaint).removeprefix(f"{complaint.file}: ")


def _duplicate(row: Row, first: int, name: str) -> Complaint:
    derived = row.key.startswith(f"{row.provider}:")
    text = (
        f"is the same document as row {first}: same file, target and options (give each a `key` to send both)"
        if derived
        else f"has the same key as row {first}"
    )
    return Complaint(name, text, row.number, row.line, "key", row.key)


def _oversized(connection: Connection, name: str, max_bundle: Mapping[str, int]) -> Iterator[tuple[Complaint, int]]:
    """Complaints about groups that no document can hold, with the number of rows of each."""
    count = func.count().label("files")
    groups = connection.execute(
        select(incoming.c.provider, incoming.c.share, count, func.min(incoming.c.row))
        .where(incoming.c.bundled, incoming.c.error.is_(None))
        .group_by(incoming.c.provider, incoming.c.share)
        .having(count > min(max_bundle.values(), default=0))
        .order_by(func.min(incoming.c.row))
    ).all()
    for provider, share, files, first in groups:
        most = max_bundle[provider]
        if files <= most:
            continue
        text = f"its group has {files} files; one document of {provider} may have {most}"
        complaint = Complaint(name, text, first, None, "group")
        connection.execute(
            update(incoming)
            .where(incoming.c.provider == provider, incoming.c.share == share)
            .values(error=_without_file(complaint), key=literal(_BAD) + cast(incoming.c.row, Text))
        )
        yield complaint, files
