"""What a run shows: a progress bar (`bulkup.bar`) on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import BinaryIO, Protocol, Self, TextIO

import orjson

from bulkup.events import DocumentEnded, Event, Notice, RunStarted, Summary, Transferred
from bulkup.model import SKIPPED, State

_LINE_EVERY = 10.0
_KILO = 1000


def size(count: float) -> str:
    """A number of bytes for people, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _KILO:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KILO
    return f"{count:.1f} TB"


def summary_lines(summary: Summary) -> list[str]:
    """A summary for people; the first line is the count that has to add up."""
    rate = summary.completed / summary.seconds if summary.seconds else 0.0
    speed = summary.bytes / summary.seconds if summary.seconds else 0.0
    count = (
        f"{_run(summary)}{summary.rows} rows = {summary.completed} completed + {summary.failed} failed + "
        f"{summary.skipped} skipped + {summary.unknown} unknown + {summary.pending} pending"
    )
    return [
        count,
        f"{size(summary.bytes)} in {summary.seconds:.1f} s ({rate:.0f} files/s, {size(speed)}/s)",
    ]


def start_line(event: RunStarted) -> str:
    """What is about to be sent where."""
    hosts = ", ".join(f"{name} at {url}" for name, url in event.hosts.items())
    return f"{_run(event)}{event.rows} rows, {f'sending to {hosts}' if hosts else 'none of them to be sent'}"


def _run(event: RunStarted | Summary) -> str:
    """Which run of which part of the manifest a line is about."""
    return f"run {event.run_id}: " + ("" if event.shard is None else f"shard {event.shard}: ")


def failure_line(event: DocumentEnded) -> str:
    """Why a row did not complete, on one line: row, file, stage, code and the vendor's words."""
    where = f" at {event.stage}" if event.stage else ""
    code = f": {event.error_code}" if event.error_code else ""
    return f"row {event.row} ({event.filename!r}): {event.state}{where}{code}: {event.error}"


class JsonLines:
    """One JSON object a line: each row as it ends, and the summary last."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        """Write one event."""
        if isinstance(event, DocumentEnded):
            facts: dict[str, object] = {
                "event": "document",
                "key": event.key,
                "row": event.row,
                "provider": event.provider,
                "filename": event.filename,
                "state": event.state,
                "document_id": event.document_id,
                "stage": event.stage,
                "error_code": event.error_code,
                "error": event.error,
            }
        elif isinstance(event, Summary):
            facts = {"event": "summary"} | event.facts()
        else:
            return
        try:
            self._out.write(orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE))
            self._out.flush()
        except OSError as error:  # the run goes on without a reader, and its exit code still counts
            _abandon(self._out)
            if not isinstance(error, BrokenPipeError):
                _print(f"standard output can't be written any more: {error.strerror}")


class Progressing(Protocol):
    """Shows how far a run is; a subscriber and a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, event: Event) -> None:
        """Take note of one event."""

    def reading(self, rows: int) -> None:
        """So many rows of the manifest were read."""


def progress() -> Progressing:
    """A bar if standard error is a terminal, else plain lines."""
    if not sys.stderr.isatty():
        return Lines()
    from bulkup.bar import Bar  # noqa: PLC0415 - its library is of no use to a run that nobody watches

    return Bar()


class Lines:
    """A line every ten seconds, and one for each failure, on standard error."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._rows = self._done = self._failed = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        match event:
            case RunStarted():
                self._rows = event.rows
                self._began = self._last = time.monotonic()
                _print(start_line(event))
            case Transferred():
                self._bytes += event.bytes
            case DocumentEnded():
                self._done += 1
                if event.state not in {State.COMPLETED, SKIPPED}:
                    self._failed += 1
                    _print(failure_line(event))
            case Notice():
                _print(event.text)
            case Summary():
                return
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY:
            self._last = now
            elapsed = now - self._began
            rate = self._done / elapsed
            left = f", {(self._rows - self._done) / rate:.0f} s left" if rate else ""
            _print(
                f"{self._done}/{self._rows} files, {size(self._bytes)}, {rate:.0f} files/s, "
                f"{size(self._bytes / elapsed)}/s{left}, {self._failed} failed"
            )

    def reading(self, rows: int) -> None:
        """See `Progressing.reading`."""
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY:
            self._last = now
            _print(f"reading the manifest: {rows} rows")


def _print(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - this module is where text is shown
    except BrokenPipeError:
        _abandon(sys.stderr)


def _abandon(stream: TextIO | BinaryIO) -> None:
    """From now on, what is written to a stream that nobody reads goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
