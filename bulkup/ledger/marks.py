"""What can happen to a document, as data. Marks of one kind are one statement, and a batch of them one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Insert,
    Integer,
    Subquery,
    Text,
    Update,
    case,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from bulkup.ledger.given import given
from bulkup.ledger.schema import Fate, documents, former_documents
from bulkup.model import Content, Stage, State


class Initiated(NamedTuple):
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


class Answered(NamedTuple):
    """The init's answer came; durable before any byte is sent.

    Attributes:
        orphan: the record of an earlier init that this one replaces.
    """

    id: int
    job_id: str | None
    document_id: str | None
    orphan: str | None = None


class Stored(NamedTuple):
    """The store confirmed the bytes."""

    id: int
    at: str
    content: Content


class Measured(NamedTuple):
    """What was read of a file while it was sent, for a later question to the vendor."""

    id: int
    content: Content


class Ended(NamedTuple):
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


class Reset(NamedTuple):
    """No bytes of it reached the vendor: it waits again. A record that the vendor made for it is an orphan now."""

    id: int
    run_id: str


class GivenUp(NamedTuple):
    """The record of an earlier init never gets its bytes, and is the row's orphan no more.

    Attributes:
        fate: the vendor put it away, or it stays as it is, and so may that of another init.
    """

    id: int
    orphan: str
    fate: Fate


Mark = Initiated | Answered | Stored | Measured | Ended | Reset | GivenUp


def _set(rows: Subquery, **values: object) -> Update:
    """Change the documents with their ids."""
    return update(documents).where(documents.c.id == rows.c.id).values(**values)


_initiated = given(
    id=Integer, run_id=Text, at=Text, flow=Text, size=BigInteger, mtime_ns=BigInteger, md5=Text, sha256=Text
)
_INITIATED = _set(
    _initiated,
    state=literal(State.INITIATED.value),
    run_id=_initiated.c.run_id,
    initiated_at=_initiated.c.at,
    flow=_initiated.c.flow,
    size=_initiated.c.size,
    mtime_ns=_initiated.c.mtime_ns,
    md5=_initiated.c.md5,
    sha256=_initiated.c.sha256,
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
_RETIRE = insert(former_documents).from_select(
    ["document", "document_id", "md5", "replaced_by", "replaced_at"],
    select(documents.c.id, documents.c.document_id, documents.c.md5, _initiated.c.run_id, _initiated.c.at).where(
        documents.c.id == _initiated.c.id, documents.c.document_id.is_not(None)
    ),
)

_answered = given(id=Integer, job_id=Text, document_id=Text)
_ANSWERED = _set(_answered, job_id=_answered.c.job_id, document_id=_answered.c.document_id, orphan=null())

_given_up = given(id=Integer, orphan=Text, fate=Text)
_REPLACE_ORPHAN = insert(former_documents).from_select(
    ["document", "document_id", "replaced_by", "replaced_at", "fate"],
    select(
        documents.c.id,
        _given_up.c.orphan,
        documents.c.run_id,
        func.coalesce(documents.c.initiated_at, ""),
        _given_up.c.fate,
    ).where(documents.c.id == _given_up.c.id),
)
_NO_ORPHAN = _set(_given_up, orphan=null())

_stored = given(id=Integer, at=Text, md5=Text, sha256=Text)
_STORED = _set(
    _stored, state=literal(State.STORED.value), stored_at=_stored.c.at, md5=_stored.c.md5, sha256=_stored.c.sha256
)

_measured = given(id=Integer, md5=Text, sha256=Text)
_MEASURED = _set(_measured, md5=_measured.c.md5, sha256=_measured.c.sha256)

_reset = given(id=Integer, run_id=Text)
_RESET = _set(
    _reset,
    state=literal(State.PENDING.value),
    run_id=_reset.c.run_id,
    orphan=func.coalesce(documents.c.document_id, documents.c.orphan),
    job_id=null(),
    document_id=null(),
    stored_at=null(),
)

_ended = given(
    id=Integer,
    run_id=Text,
    at=Text,
    state=Text,
    document_id=Text,
    stage=Text,
    code=Text,
    text=Text,
    retriable=Boolean,
    init_lost=Boolean,
)
_ENDED = _set(
    _ended,
    state=_ended.c.state,
    run_id=_ended.c.run_id,
    finished_at=_ended.c.at,
    document_id=func.coalesce(_ended.c.document_id, documents.c.document_id),
    stage=_ended.c.stage,
    error_code=_ended.c.code,
    error=_ended.c.text,
    retriable=_ended.c.retriable,
    orphan=case((_ended.c.init_lost, func.coalesce(documents.c.orphan, literal(""))), else_=documents.c.orphan),
)

_STATEMENTS: Mapping[type[Mark], Sequence[Insert | Update]] = {
    # a document that the vendor made for the row before stays in the row's history
    Initiated: (_RETIRE, _INITIATED),
    Answered: (_ANSWERED,),
    Stored: (_STORED,),
    Measured: (_MEASURED,),
    Reset: (_RESET,),
    Ended: (_ENDED,),
    GivenUp: (_REPLACE_ORPHAN, _NO_ORPHAN),
}


def write(connection: Connection, marks: Sequence[Mark]) -> None:
    """Write marks, those of one document in their order."""
    for wave in _waves(marks):
        for kind, batch in wave.items():
            if kind is Answered:
                replaced = [GivenUp(m.id, m.orphan, Fate.LEFT) for m in batch if isinstance(m, Answered) and m.orphan]
                if replaced:
                    connection.execute(_REPLACE_ORPHAN, _rows(replaced))
            rows = _rows(batch)
            for statement in _STATEMENTS[kind]:
                connection.execute(statement, rows)


def _waves(marks: Iterable[Mark]) -> Sequence[Mapping[type[Mark], list[Mark]]]:
    """The first marks of all documents by their kind, then the second ones, and so on: few statements for many."""
    waves: list[defaultdict[type[Mark], list[Mark]]] = []
    seen: dict[int, int] = {}  # no Counter, which would have a function called for each new key
    for mark in marks:
        wave = seen.get(mark.id, 0)
        if wave == len(waves):
            waves.append(defaultdict(list))
        waves[wave][type(mark)].append(mark)
        seen[mark.id] = wave + 1
    return waves


_FACTS: Mapping[type[Mark], Callable[[Mark], tuple[object, ...]]] = {
    Initiated: attrgetter(
        "id", "run_id", "at", "flow", "content.size", "content.mtime_ns", "content.md5", "content.sha256"
    ),
    Answered: attrgetter("id", "job_id", "document_id"),
    Stored: attrgetter("id", "at", "content.md5", "content.sha256"),
    Measured: attrgetter("id", "content.md5", "content.sha256"),
    Reset: attrgetter("id", "run_id"),
    Ended: attrgetter("id", "run_id", "at", "state", "document_id", "stage", "code", "text", "retriable", "init_lost"),
    GivenUp: attrgetter("id", "orphan", "fate"),
}
"""Of each kind what its statements are given, in their order."""


def _rows(marks: Sequence[Mark]) -> dict[str, str]:
    facts = _FACTS[type(marks[0])]
    return {"rows": orjson.dumps([facts(mark) for mark in marks]).decode()}
