"""The live progress bar of a run on a terminal; a subscriber."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from bulkup.events import DocumentEnded, Event, Notice, RunStarted, Transferred
from bulkup.model import SKIPPED, State
from bulkup.terminal import failure_line, size, start_line


class _Speed(ProgressColumn):
    """Files and bytes per second since sending began."""

    def render(self, task: object) -> Text:
        """See `ProgressColumn.render`."""
        done, elapsed = getattr(task, "completed", 0), getattr(task, "elapsed", 0) or 0
        moved = getattr(task, "fields", {}).get("moved", 0)
        if not elapsed:
            return Text("")
        return Text(f"{size(moved)}  {done / elapsed:.0f} files/s  {size(moved / elapsed)}/s")


class Bar:
    """A live bar on standard error; failures scroll above it."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            _Speed(),
            TimeRemainingColumn(),
            TextColumn("[red]{task.fields[failed]} failed"),
            console=Console(stderr=True, highlight=False),
            refresh_per_second=8,
        )
        self._task: TaskID | None = None
        self._failed = self._moved = self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        match event:
            case RunStarted():
                self._progress.console.print(escape(start_line(event)), soft_wrap=True)
                self._start("sending", event.rows)
            case Transferred():
                self._moved += event.bytes
                self._update()
            case DocumentEnded():
                self._done += 1
                if event.state not in {State.COMPLETED, SKIPPED}:
                    self._failed += 1
                    self._progress.console.print(escape(failure_line(event)), soft_wrap=True)
                self._update()
            case Notice():
                self._progress.console.print(escape(event.text), soft_wrap=True)

    def reading(self, rows: int) -> None:
        """See `Progressing.reading`."""
        if self._task is None:
            self._start("reading the manifest", None)
        if self._task is not None:
            self._progress.update(self._task, completed=rows)

    def _start(self, what: str, total: int | None) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total, failed=0, moved=0)

    def _update(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=self._done, failed=self._failed, moved=self._moved)
