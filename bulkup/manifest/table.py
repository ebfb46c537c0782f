"""CSV and TSV: a header, then one record a line, or more lines where quoted cells hold newlines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from bulkup.manifest.cells import unguarded
from bulkup.manifest.record import LIMIT, LIMIT_TEXT, Record, UnreadableError


class _Lines:
    """The lines of a stream for `csv.reader`, limited in what one record may take.

    Attributes:
        left: characters that are left to this record.
        last: the last line.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        # undecodable bytes become lone surrogates, so that the cell that holds them can be named
        self._text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
        self.left = LIMIT
        self.last = ""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.last = line = self._text.readline(self.left + 1)
        if not line:
            raise StopIteration
        self.left -= len(line)
        if self.left < 0:
            raise UnreadableError(f"the row that starts here is longer than {LIMIT_TEXT}: is a quote left open?")
        return line


def records(
    stream: io.BufferedReader,
    delimiter: str,
    check_header: Callable[[Sequence[str]], Sequence[str]],
    is_export: Callable[[Sequence[str]], bool],
) -> Iterator[Record]:
    """The records of a table.

    Args:
        stream: the table's bytes.
        delimiter: what stands between cells.
        check_header: says what is wrong with a header, one text each.
        is_export: whether a header is one of `bulkup export`, whose cells are guarded against spreadsheets.

    Raises:
        UnreadableError: the header is wrong, or it can't be told where the next record begins.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LIMIT))  # the csv module has this limit per process only
    lines = _Lines(stream)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    restored: Callable[[str], str] = str
    number = columns = 0
    while True:
        lines.left = LIMIT
        line = reader.line_num + 1
        problem = None
        row: list[str] = []
        try:
            row = next(reader)
        except StopIteration:
            return
        except UnreadableError as error:
            raise UnreadableError(*error.texts, line=line) from None
        except csv.Error:
            problem = _quoting_problem(lines.last, line, one_line=reader.line_num == line)
        cells = len(row)
        if problem is None and (not row or (cells == 1 != columns and not row[0].strip())):
            continue  # a blank line
        if not header:
            if problem is not None:
                raise UnreadableError(f"the header {problem}", line=line)
            if problems := check_header(row):
                raise UnreadableError(*problems, line=line)
            header, columns, restored = row, cells, unguarded if is_export(row) else str
            continue
        number += 1
        if problem is None and cells != columns:
            problem = f"has {_count(cells, 'cell')}, but the header has {_count(columns, 'column')}"
        yield Record(number, line, dict(zip(header, map(restored, row), strict=False)), problem)


def _quoting_problem(last: str, line: int, *, one_line: bool) -> str:
    """What is wrong with the quotes of a record.

    Raises:
        UnreadableError: a quote may still be open after it, so what follows can't be told apart.
    """
    if not last:
        raise UnreadableError("a quote in the row that starts here is never closed", line=line)
    problem = 'has text after a closing quote (a quote inside a quoted cell is written "")'
    if one_line and last.count('"') % 2 == 0:
        return problem
    raise UnreadableError(f"the row that starts here {problem}", line=line)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
