"""Taking a manifest into the ledger: all of it or, while any row is bad, nothing.

The rows wait in a temporary table, which finds duplicate keys and oversized groups without holding them in memory;
one statement then merges them. What a row's former state means for this run is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable, DropTable

from bulkup.ledger.schema import documents, former_documents, incoming, runs
from bulkup.ledger.sharded import Mine, forget_bad, was_bad
from bulkup.ledger.staging import invalid, keys_taken, put, refused, values, without_file
from bulkup.model import Stage, State
from bulkup.rows import Complaint, Invalid, Row

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

CONTENT_CHANGED = "content_changed"
"""The error code of a completed row whose file is another now, under ``--on-change fail``."""

INVALID_ROW = "invalid_row"
"""The error code of a row that could not be sent at all."""

JOB_FAILED = "job_failed"
"""The error code of documents whose job failed, all of a batch for the sake of one perhaps."""

_was_completed = and_(
    documents.c.state == State.FAILED.value,
    documents.c.stage == Stage.PREFLIGHT.value,
    documents.c.document_id.is_not(None),
)
"""A completed row whose changed file could not be sent: still completed, as far as the vendor goes."""

_stored_already = and_(
    documents.c.state == State.FAILED.value,
    documents.c.stage.in_([Stage.LINK.value, Stage.UPDATE.value]),
    documents.c.document_id.is_not(None),
)
"""A row whose bytes the vendor has, and what was to follow failed: only that is done again."""

_never_stored = and_(
    documents.c.state == State.FAILED.value,
    documents.c.stage == Stage.TRANSFER.value,
    or_(documents.c.document_id.is_not(None), documents.c.job_id.is_not(None)),
)
"""A row whose init was answered, and whose bytes did not get there as far as is known.

The answer to them may have been lost, so its record is asked for before it becomes an orphan.
"""

_BATCH = 1000
_KEPT = (State.COMPLETED, State.INITIATED, State.STORED, State.UNKNOWN)


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
        _stage_batch(connection, batch, name, complain, admission)
    for complaint in _moved(connection, name):
        admission.invalid += 1
        complain(complaint)
    for complaint in _torn(connection, name):
        admission.invalid += 1
        complain(complaint)
    for complaint, files in _oversized(connection, name, max_bundle):
        admission.invalid += files
        complain(complaint)
    return admission


def _stage_batch(
    connection: Connection,
    batch: Sequence[Row | Invalid | Complaint],
    name: str,
    complain: Callable[[Complaint], None],
    admission: Admission,
) -> None:
    staged: list[tuple[object, ...]] = []
    rows = [item for item in batch if isinstance(item, Row)]
    taken = keys_taken(connection, [row.key for row in rows])
    sent = _sent(connection, [row.key for row in rows if row.objections])
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
            staged.append(invalid(item))
        elif (first := taken.get(item.key)) is not None:
            admission.invalid += 1
            complaint = _duplicate(item, first, name)
            complain(complaint)
            staged.append(refused(item, complaint))
        elif item.objections and item.key not in sent:
            admission.invalid += 1
            for objection in item.objections:
                complain(objection)
            staged.append(refused(item, *item.objections))
        else:
            taken[item.key] = item.number
            staged.append(values(item))
    if staged:
        put(connection, staged)


def merge(connection: Connection, manifest: str, run_id: str, now: str, mine: Mine | None = None) -> None:
    """Move the staged rows into the ledger, as rows of this run.

    A new row is pending. A failed one is pending again if a later run may send it by itself; completed again, if what
    failed was only to look at the changed file of a completed row; stored again, if what failed comes after that;
    initiated again, if the vendor's record of it may have its bytes. An unfinished or unknown one stays what it is.

    Args:
        mine: as in `Ledger.admit`.
    """
    if mine is None:
        connection.execute(documents.delete().where(was_bad(manifest)))
    else:
        forget_bad(connection, manifest, mine)
    _retire_failed(connection, run_id, now)
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
        case((is_bad, literal(INVALID_ROW))),
        incoming.c.error,
        case((is_bad, literal(now))),
        literal(True),  # noqa: FBT003 - a column's value
        literal(False),  # noqa: FBT003
        literal(0),
    ).where(literal(True))  # noqa: FBT003 - SQLite needs a WHERE between a SELECT and its ON CONFLICT
    target = [*names, "manifest", "admitted_by", "run_id", "state", "stage", "error_code", "error", "finished_at"]
    target += ["retriable", "alone", "attempts"]
    statement = _insert(connection).from_select(target, new)
    told = statement.excluded
    old = documents.c
    failed = old.state == State.FAILED.value
    same = old.share == told.share
    stored = and_(_stored_already, same)
    doubtful = and_(_never_stored, old.retriable, same)
    again = and_(failed, old.retriable, ~_was_completed, ~stored, ~doubtful)
    fresh = or_(old.state == State.PENDING.value, again)
    kept = or_(stored, doubtful, _was_completed)
    settled = or_(fresh, kept, old.state == State.COMPLETED.value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "row": told.row,
                "path": told.path,
                "manifest": told.manifest,
                "admitted_by": told.admitted_by,
                "state": case(
                    (_was_completed, literal(State.COMPLETED.value)),
                    (stored, literal(State.STORED.value)),
                    (doubtful, literal(State.INITIATED.value)),
                    (fresh, told.state),
                    else_=old.state,
                ),
                "alone": case((and_(fresh, old.error_code == JOB_FAILED), literal(True)), else_=old.alone),  # noqa: FBT003
                **{name: case((settled, told[name]), else_=old[name]) for name in ("filename", "cells")},
                **{name: case((fresh, told[name]), else_=old[name]) for name in ("target", "share", "bundled")},
                **{name: case((fresh, told[name]), (kept, null()), else_=old[name]) for name in ("stage", "error")},
                # of a doubtful row the code stays: it says whether there was a definite refusal
                "error_code": case(
                    (fresh, told.error_code), (or_(stored, _was_completed), null()), else_=old.error_code
                ),
            },
        )
    )


def _insert(connection: Connection) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which SQLAlchemy has for each database by itself."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(documents)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - takes 30 ms, which a run on SQLite does without

    return postgresql.insert(documents)


def _retire_failed(connection: Connection, run_id: str, now: str) -> None:
    """Documents of rows that failed at the vendor, such as by their hash, go into the history.

    So a document id on a row that is to be sent says that it was completed. A record without bytes is kept as the
    row's orphan, since the next init may have to put it away, or can use it.
    """
    d = documents.c
    told = exists().where(incoming.c.key == d.key)
    kept = and_(or_(_stored_already, _never_stored), told.where(incoming.c.share == d.share))
    rows = and_(d.state == State.FAILED.value, d.retriable, d.document_id.is_not(None), ~_was_completed, told, ~kept)
    connection.execute(update(documents).where(rows, _never_stored).values(orphan=d.document_id, document_id=null()))
    former = select(d.id, d.document_id, d.md5, literal(run_id), literal(now)).where(rows).order_by(d.id)
    names = ["document", "document_id", "md5", "replaced_by", "replaced_at"]
    connection.execute(insert(former_documents).from_select(names, former))
    connection.execute(update(documents).where(rows).values(document_id=null()))


def start_run(connection: Connection, run_id: str, manifest: str, now: str, rows: int) -> None:
    """Note that a run began."""
    connection.execute(insert(runs).values(run_id=run_id, manifest=manifest, started_at=now, rows=rows))


def _sent(connection: Connection, keys: list[str]) -> set[str]:
    """Those of the keys whose document the vendor has, or may have."""
    if not keys:
        return set()
    kept = and_(documents.c.state == State.FAILED.value, ~documents.c.retriable)
    known = or_(_was_completed, _stored_already, kept, documents.c.state.in_([state.value for state in _KEPT]))
    return set(connection.scalars(select(documents.c.key).where(documents.c.key.in_(keys), known)))


def _duplicate(row: Row, first: int, name: str) -> Complaint:
    derived = row.key.startswith(f"{row.provider}:")
    text = (
        f"is the same document as row {first}: same file, target and options (give each a `key` to send both)"
        if derived
        else f"has the same key as row {first}"
    )
    if derived:
        return Complaint(name, text, row.number, row.line, "path", row.filename)
    return Complaint(name, text, row.number, row.line, "key", row.key)


def _moved(connection: Connection, name: str) -> Iterator[Complaint]:
    """Rows whose key belongs to a document of another target or with other options.

    Such a row is neither completed nor to be sent: a key is one document's identity.
    """
    query = (
        select(incoming.c.row, incoming.c.key, documents.c.target, documents.c.row.label("first"))
        .join(documents, documents.c.key == incoming.c.key)
        .where(incoming.c.error.is_(None), documents.c.share != incoming.c.share)
        .where(or_(_was_completed, documents.c.state.in_([s.value for s in _KEPT])))
        .order_by(incoming.c.row)
    )
    for row, key, target, _ in connection.execute(query).all():
        text = f"was sent to {target!r} with other options: another document needs a key of its own"
        complaint = Complaint(name, text, row, None, "key", key)
        _refuse(connection, incoming.c.row == row, complaint)
        yield complaint


def _torn(connection: Connection, name: str) -> Iterator[Complaint]:
    """Rows of a group of which another row is bad: half a document is none."""
    failed = incoming.c.error.is_not(None)
    shares = select(incoming.c.share).where(failed, incoming.c.bundled)
    # of a row whose columns are bad only the group's name is known
    named = select(incoming.c.provider, incoming.c.group).where(failed, incoming.c.share == "", incoming.c.group != "")
    torn = or_(incoming.c.share.in_(shares), tuple_(incoming.c.provider, incoming.c.group).in_(named))
    query = select(incoming.c.row).where(incoming.c.bundled, ~failed, torn)
    for (row,) in connection.execute(query.order_by(incoming.c.row)).all():
        complaint = Complaint(name, "another row of its group can't be sent", row, None, "group")
        _refuse(connection, incoming.c.row == row, complaint)
        yield complaint


def _refuse(connection: Connection, which: ColumnElement[bool], complaint: Complaint) -> None:
    """Mark staged rows as bad, and give their key free."""
    connection.execute(update(incoming).where(which).values(error=without_file(complaint), key=null()))


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
        _refuse(connection, and_(incoming.c.provider == provider, incoming.c.share == share), complaint)
        yield complaint, files
