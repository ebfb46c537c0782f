"""What can happen to a document, as data: each mark is one fixed UPDATE, so a batch of them is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, Text, bindparam, func, insert, literal, null, select, update

from bulkup.ledger.schema import Fate, documents, former_documents
from bulkup.model import Content, Stage, State


@dataclass(frozen=True, slots=True)
class Initiated:
    """An init is about to be sent; durable before it is.

    Attributes:
        flow: which of the vendor's flows it is.
        content: what the file held when it was measured.
    """

    id: int
    run_id: str
    at: str
    flow: str
    content: Content


@dataclass(frozen=True, slots=True)
class Answered:
    """The init's answer came; durable before any byte is sent.

    Attributes:
        orphan: the record of an earlier init that this one replaces.
    """

    id: int
    job_id: str | None
    document_id: str | None
    orphan: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The store confirmed the bytes."""

    id: int
    at: str
    content: Content


@dataclass(frozen=True, slots=True)
class Measured:
    """What was read of a file while it was sent, for a later question to the vendor."""

    id: int
    content: Content


@dataclass(frozen=True, slots=True)
class Ended:
    """The document reached the end of this run: completed, failed or unknown.

    Attributes:
        document_id: the vendor's; None keeps what is known.
        retriable: whether a later run may send it again by itself.
        init_lost: an init's answer never came, so there may be a record of unknown id.
    """

    id: int
    run_id: str
    at: str
    state: State
    document_id: str | None = None
    stage: Stage | None = None
    code: str | None = None
    text: str | None = None
    retriable: bool = True
    init_lost: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """No bytes of it reached the vendor: it waits again. A record that the vendor made for it is an orphan now."""

    id: int
    run_id: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The record of an earlier init never gets its bytes, and is the row's orphan no more.

    Attributes:
        fate: the vendor put it away, or it stays as it is, and so may that of another init.
    """

    id: int
    orphan: str
    fate: Fate


Mark = Initiated | Answered | Stored | Measured | Ended | Reset | GivenUp

_by_id = documents.c.id == bindparam("_id")

_RETIRE = insert(former_documents).from_select(
    ["document", "document_id", "md5", "replaced_by", "replaced_at"],
    select(documents.c.id, documents.c.document_id, documents.c.md5, bindparam("_run"), bindparam("_at")).where(
        _by_id, documents.c.document_id.is_not(None)
    ),
)

_INITIATED = (
    update(documents)
    .where(_by_id)
    .values(
        state=literal(State.INITIATED.value),
        run_id=bindparam("_run"),
        initiated_at=bindparam("_at"),
        flow=bindparam("_flow"),
        size=bindparam("_size"),
        mtime_ns=bindparam("_mtime_ns"),
        md5=bindparam("_md5"),
        sha256=bindparam("_sha256"),
        attempts=documents.c.attempts + 1,
        retriable=literal(True),  # noqa: FBT003 - a column's value
        job_id=null(),
        document_id=null(),
        stored_at=null(),
        finished_at=null(),
        stage=null(),
        error_code=null(),
        error=null(),
    )
)
_ANSWERED = (
    update(documents)
    .where(_by_id)
    .values(job_id=bindparam("_job_id"), document_id=bindparam("_document_id"), orphan=null())
)
_REPLACE_ORPHAN = insert(former_documents).from_select(
    ["document", "document_id", "replaced_by", "replaced_at", "fate"],
    select(
        documents.c.id,
        bindparam("_orphan", type_=Text),
        documents.c.run_id,
        func.coalesce(documents.c.initiated_at, ""),
        bindparam("_fate", type_=Text),
    ).where(_by_id),
)
_NO_ORPHAN = update(documents).where(_by_id).values(orphan=null())
_INIT_LOST = update(documents).where(_by_id).values(orphan=func.coalesce(documents.c.orphan, literal("")))
_STORED = (
    update(documents)
    .where(_by_id)
    .values(
        state=literal(State.STORED.value),
        stored_at=bindparam("_at"),
        md5=bindparam("_md5"),
        sha256=bindparam("_sha256"),
    )
)
_MEASURED = update(documents).where(_by_id).values(md5=bindparam("_md5"), sha256=bindparam("_sha256"))
_ENDED = (
    update(documents)
    .where(_by_id)
    .values(
        state=bindparam("_state"),
        run_id=bindparam("_run"),
        finished_at=bindparam("_at"),
        stage=bindparam("_stage"),
        error_code=bindparam("_code"),
        error=bindparam("_text"),
        retriable=bindparam("_retriable"),
    )
)
_IDENTIFIED = update(documents).where(_by_id).values(document_id=bindparam("_document_id"))
_RESET = (
    update(documents)
    .where(_by_id)
    .values(
        state=literal(State.PENDING.value),
        run_id=bindparam("_run"),
        orphan=func.coalesce(documents.c.document_id, documents.c.orphan),
        job_id=null(),
        document_id=null(),
        stored_at=null(),
    )
)


def write(connection: Connection, marks: Sequence[Mark]) -> None:
    """Write marks in their order."""
    for kind, run in groupby(marks, key=type):
        batch = list(run)
        if kind is Initiated:
            _write_initiated(connection, [mark for mark in batch if isinstance(mark, Initiated)])
        elif kind is Ended:
            _write_ended(connection, [mark for mark in batch if isinstance(mark, Ended)])
        elif kind is GivenUp:
            given_up = [mark for mark in batch if isinstance(mark, GivenUp)]
            _retire_orphans(connection, given_up)
            connection.execute(_NO_ORPHAN, [{"_id": mark.id} for mark in given_up])
        else:
            replaced = [GivenUp(m.id, m.orphan, Fate.LEFT) for m in batch if isinstance(m, Answered) and m.orphan]
            _retire_orphans(connection, replaced)
            statement = {Answered: _ANSWERED, Stored: _STORED, Measured: _MEASURED, Reset: _RESET}[kind]
            connection.execute(statement, [_parameters(m) for m in batch if not isinstance(m, GivenUp)])


def _write_initiated(connection: Connection, marks: Sequence[Initiated]) -> None:
    for mark in marks:  # a document that the vendor made for the row before stays in the row's history
        connection.execute(_RETIRE, {"_id": mark.id, "_run": mark.run_id, "_at": mark.at})
    connection.execute(_INITIATED, [_parameters(mark) for mark in marks])


def _retire_orphans(connection: Connection, orphans: Sequence[GivenUp]) -> None:
    """Note in the rows' history which records got no bytes."""
    if orphans:
        connection.execute(
            _REPLACE_ORPHAN, [{"_id": mark.id, "_orphan": mark.orphan, "_fate": mark.fate.value} for mark in orphans]
        )


def _write_ended(connection: Connection, marks: Sequence[Ended]) -> None:
    connection.execute(_ENDED, [_parameters(mark) for mark in marks])
    identified = [{"_id": mark.id, "_document_id": mark.document_id} for mark in marks if mark.document_id is not None]
    if identified:
        connection.execute(_IDENTIFIED, identified)
    lost = [{"_id": mark.id} for mark in marks if mark.init_lost]
    if lost:
        connection.execute(_INIT_LOST, lost)


def _parameters(mark: Initiated | Answered | Stored | Measured | Ended | Reset) -> dict[str, object]:
    match mark:
        case Initiated(id_, run_id, at, flow, content):
            return {"_id": id_, "_run": run_id, "_at": at, "_flow": flow, "_size": content.size} | _hashes(
                content, mtime=True
            )
        case Answered(id_, job_id, document_id, _):
            return {"_id": id_, "_job_id": job_id, "_document_id": document_id}
        case Stored(id_, at, content):
            return {"_id": id_, "_at": at} | _hashes(content)
        case Measured(id_, content):
            return {"_id": id_} | _hashes(content)
        case Reset(id_, run_id):
            return {"_id": id_, "_run": run_id}
        case Ended():
            return {
                "_id": mark.id,
                "_run": mark.run_id,
                "_at": mark.at,
                "_state": mark.state.value,
                "_stage": mark.stage and mark.stage.value,
                "_code": mark.code,
                "_text": mark.text,
                "_retriable": mark.retriable,
            }


def _hashes(content: Content, *, mtime: bool = False) -> dict[str, object]:
    hashes: dict[str, object] = {"_md5": content.md5, "_sha256": content.sha256}
    return hashes | {"_mtime_ns": content.mtime_ns} if mtime else hashes
