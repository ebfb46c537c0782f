"""What the format readers hand on: records, or why the file can't be read further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LIMIT = 16 * 1024 * 1024
"""Characters one record may have (bytes, for a line of JSON lines), so that a broken file can't fill the memory."""

LIMIT_TEXT = "16 MiB"


class UnreadableError(Exception):
    """The manifest can't be read, or not any further.

    Args:
        texts: what is wrong, one complaint each.
        line: the line to blame, if there is one.
    """

    def __init__(self, *texts: str, line: int | None = None) -> None:
        super().__init__(*texts)
        self.texts = texts
        self.line = line


@dataclass(slots=True)  # not frozen: that would double what a row of CSV costs here
class Record:
    """One record of a manifest, as it was found.

    Attributes:
        number: the first record is 1.
        line: the line it starts on, where lines are counted.
        cells: by column name; text, or JSON values with each fraction and long number as a `Decimal`.
        problem: what is wrong with the record as a whole; its cells are then a guess.
        repeated: columns that it gives twice.
    """

    number: int
    line: int | None
    cells: Mapping[str, object]
    problem: str | None = None
    repeated: tuple[str, ...] = ()
