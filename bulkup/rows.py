"""What a manifest's reader makes of each record: a valid row, or what is wrong with it. Pure data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)  # not frozen: that would make it four times as slow to make one
class Row:
    """One valid row of a manifest, ready to be admitted to the ledger.

    Attributes:
        number: the first record is 1.
        cells: the row's own columns as they were given (text, or JSON values from a JSON manifest), without
            ``path``, ``provider``, ``filename`` and ``key``.
        share: documents with the same value may share one init.
        bundled: all rows with this ``share`` become one document of several files.
        line: where it starts, if lines are counted.
        group: what the row's group column says; see `Columns.group_column`.
        objections: what speaks against sending it at this time; of no account for a row that was sent before.
    """

    number: int
    key: str
    provider: str
    target: str
    path: str
    filename: str
    cells: Mapping[str, object]
    share: str
    bundled: bool = False
    line: int | None = None
    group: str = ""
    objections: tuple[Complaint, ...] = ()


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a manifest: where exactly, and what would be right.

    Attributes:
        file: the manifest's name as the user gave it.
        text: what is wrong, and what would be right.
        row: the record's number, the first is 1; None: the whole file.
        line: the line it starts on, where lines are counted.
        column: the column's name, if one is to blame.
        value: the cell's value as given, if there is one.
    """

    file: str
    text: str
    row: int | None = None
    line: int | None = None
    column: str | None = None
    value: str | None = None

    def __str__(self) -> str:
        where = self.file
        if self.row is not None:
            where += f": row {self.row}"
            if self.line is not None and self.line != self.row:
                where += f" (line {self.line})"
        elif self.line is not None:
            where += f": line {self.line}"
        what = f"column {self.column!r}: " if self.column is not None else ""
        value = "" if self.value is None else f" (value: {_shown(self.value)})"
        return f"{where}: {what}{self.text}{value}"


@dataclass(frozen=True, slots=True)
class Invalid:
    """A row of a manifest that can't be sent, with all that is wrong with it.

    Attributes:
        path, provider, filename: as far as they could be read, the path absolute; empty otherwise.
        cells: as in `Row`.
        share, bundled: as in `Row`, where the provider's columns are good.
        group: as in `Row`.
    """

    number: int
    complaints: tuple[Complaint, ...]
    path: str = ""
    provider: str = ""
    filename: str = ""
    cells: Mapping[str, object] = field(default_factory=dict)
    share: str = ""
    bundled: bool = False
    group: str = ""


_LONGEST_VALUE = 80


def _shown(value: str) -> str:
    """A value as it can be printed on one line: control and undecodable characters escaped, the middle left out."""
    if len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "…"
    return ascii(value) if not value.isprintable() else repr(value)
