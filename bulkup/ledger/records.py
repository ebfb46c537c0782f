"""Rows of the ledger, as the engine gets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bulkup.ledger.schema import Fate
from bulkup.model import Columns, Content, Document, State

Parse = Callable[[str, Mapping[str, object]], Columns]


class Candidate(NamedTuple):
    """A row that a run may have to send.

    Attributes:
        share: rows with the same value may share one init; or, if bundled, make one document.
        sent: what was sent, if it is completed.
        now: it was completed in this run.
        alone: it must not share an init.
        orphan: a record of it that got no bytes; empty: there may be one, of unknown id.
    """

    document: Document[Columns]
    share: str
    bundled: bool
    sent: Content | None
    now: bool = False
    alone: bool = False
    orphan: str | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """A row that an earlier run left half-way, or could not decide.

    Attributes:
        ended_at: when that run gave it up, in ISO 8601, UTC; empty: it was interrupted.
        stage, error_code, error: why, if it did.
    """

    document: Document[Columns]
    share: str
    bundled: bool
    state: State
    flow: str
    job_id: str | None
    document_id: str | None
    content: Content
    initiated_at: str
    ended_at: str = ""
    stage: str | None = None
    error_code: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Orphan:
    """A vendor's record that never got its bytes, and the row that it was made for.

    Attributes:
        record: its id at the vendor.
    """

    key: str
    row: int
    provider: str
    target: str
    filename: str
    record: str
    fate: Fate
