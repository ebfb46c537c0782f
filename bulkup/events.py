"""What a run tells the world: frozen facts, given to plain callables. Terminal, JSON and logs are subscribers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from bulkup.model import SKIPPED, Stage, State


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The manifest is admitted; sending begins.

    Attributes:
        hosts: where to: for each provider its base URL.
        shard: the part of the manifest that is sent, such as ``3/8``; None: all of it.
    """

    run_id: str
    rows: int
    ledger: str
    hosts: Mapping[str, str]
    shard: str | None = None


@dataclass(frozen=True, slots=True)
class Transferred:
    """So many bytes arrived at a store."""

    bytes: int


class DocumentEnded(NamedTuple):
    """A row reached its end in this run: `State` or ``skipped``.

    Attributes:
        repeated: it ended in an earlier run, and stays what it was.
    """

    key: str
    row: int
    provider: str
    filename: str
    state: str
    bytes: int = 0
    document_id: str | None = None
    stage: Stage | None = None
    error_code: str | None = None
    error: str | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that concerns more than one row; one line.

    Attributes:
        text: what happened.
        gist: the same without names of rows and the words of others; empty: ``text`` has none.
    """

    text: str
    gist: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended. ``rows`` is counted by the manifest's reader, the states by the ledger.

    Attributes:
        bytes: of the documents completed in this run.
        seconds: from the admission to the end.
        interrupted: the user stopped it.
        limited: a limit that the user set stopped it.
        shard: the part of the manifest that all of this is about, such as ``3/8``; None: all of it.
    """

    run_id: str
    rows: int
    completed: int
    failed: int
    skipped: int
    unknown: int
    pending: int
    bytes: int
    seconds: float
    interrupted: bool = False
    limited: bool = False
    shard: str | None = None

    @property
    def exit_code(self) -> int:
        """The process's exit code: where several hold, the order is 130, 3, 4, 1."""
        if self.interrupted:
            return 130
        if self.unknown:
            return 3
        if self.limited and self.pending:
            return 4
        return 1 if self.failed or self.pending else 0

    @property
    def adds_up(self) -> bool:
        """Whether every row of the manifest, or of the shard, is in exactly one state."""
        return self.rows == self.completed + self.failed + self.skipped + self.unknown + self.pending

    def facts(self) -> dict[str, object]:
        """The fields of the ``summary`` event."""
        return asdict(self)


Event = RunStarted | Transferred | DocumentEnded | Notice | Summary
Subscriber = Callable[[Event], None]


class Tally:
    """Counts what a run says of its rows; a subscriber.

    Attributes:
        ended: rows by their end.
        failures: rows that failed in this run.
        bytes: of completed rows.
    """

    def __init__(self) -> None:
        self.ended: dict[str, int] = {state.value: 0 for state in State} | {SKIPPED: 0}
        self.failures = 0
        self.bytes = 0

    def __call__(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, DocumentEnded):
            self.ended[event.state] += 1
            if event.state == State.COMPLETED:
                self.bytes += event.bytes
            elif event.state == State.FAILED and not event.repeated:
                self.failures += 1
