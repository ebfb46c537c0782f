"""The ledger as a table: fixed fields, then the row's own columns. A failed row exported as CSV is a manifest again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import BinaryIO, TextIO

import orjson

from bulkup.ledger.admission import INVALID_ROW
from bulkup.manifest.cells import guarded
from bulkup.providers import COLUMNS

FIELDS = (
    "key",
    "row",
    "provider",
    "target",
    "path",
    "filename",
    "size",
    "md5",
    "sha256",
    "state",
    "document_id",
    "job_id",
    "attempts",
    "stage",
    "error_code",
    "error",
    "run_id",
    "initiated_at",
    "stored_at",
    "finished_at",
)


class Format(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"
    CSV = "csv"


def write_jsonl(rows: Iterable[Mapping[str, object]], out: BinaryIO) -> int:
    """One JSON object a line, the row's own columns as the object ``columns``; returns the number of rows."""
    count = 0
    for row in rows:
        record = {name: row[name] for name in FIELDS} | {"key": _key(row), "columns": row["cells"]}
        out.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    return count


def own_columns(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """The names of the rows' own columns: all that their providers know, then others in the order they appear."""
    names: dict[str, None] = {}
    for row in rows:
        kind = COLUMNS.get(str(row["provider"]))
        names.update(dict.fromkeys(kind.model_fields if kind is not None else ()))
        names.update(dict.fromkeys(_cells(row)))
    return [name for name in names if name not in FIELDS]


def write_csv(rows: Iterable[Mapping[str, object]], columns: list[str], out: TextIO) -> int:
    """A header and a line for each row; returns the number of rows.

    Args:
        columns: the rows' own columns, from `own_columns`.
    """
    writer = csv.writer(out, lineterminator="\r\n")  # with which a lone CR in a cell is quoted too
    writer.writerow([*FIELDS, *columns])
    count = 0
    for row in rows:
        cells = _cells(row)
        fields = [_key(row), *(row[name] for name in FIELDS[1:])]
        writer.writerow([*map(_cell, fields), *(_cell(cells.get(name)) for name in columns)])
        count += 1
    return count


def _key(row: Mapping[str, object]) -> object:
    """A row's key; a bad row has none of its own, and gets one when it is mended."""
    return None if row["error_code"] == INVALID_ROW else row["key"]


def _cells(row: Mapping[str, object]) -> Mapping[str, object]:
    cells = row["cells"]
    return cells if isinstance(cells, dict) else {}


def _cell(value: object) -> str:
    """A cell that reads back as the same value, and that no spreadsheet takes for a formula."""
    match value:
        case None:
            return ""
        case str():
            return guarded(value)
        case bool() | list() | dict():
            return orjson.dumps(value).decode()
        case _:
            return str(value)
