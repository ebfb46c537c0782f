"""Reading a manifest from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

from bulkup.manifest import objects, table
from bulkup.manifest.check import check
from bulkup.manifest.record import Record, UnreadableError
from bulkup.manifest.schema import Schema, nearest
from bulkup.manifest.source import Source, opened
from bulkup.model import Columns
from bulkup.rows import Complaint, Invalid, Row

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def read(
    manifest: str,
    kinds: Mapping[str, type[Columns]],
    *,
    provider: str | None = None,
    ignore_extra: bool = False,
    stdin: BinaryIO | None = None,
    now: datetime | None = None,
    fetch: Callable[[str], Iterator[bytes]] | None = None,
) -> Iterator[Row | Invalid | Complaint]:
    """Read a manifest as a stream; memory does not grow with its rows.

    Args:
        manifest: its name, or ``-`` for standard input (JSON lines).
        kinds: the columns of each provider that a row may name.
        provider: the provider of rows that name none; a row that names another is invalid.
        ignore_extra: keep unknown columns in `Row.cells` instead of refusing them.
        stdin: read instead of the process's standard input; it is not closed.
        now: the time, with its zone; None: that of the machine's clock.
        fetch: gives the bytes of a manifest that is named by a URL; raises `StepError`, also in the middle.

    Yields:
        Each row, valid or invalid, in order. Where the file can't be read, or not any further, or has no rows, the
        last items are complaints about the file. Nothing that a manifest holds raises an exception.
    """
    file = manifest if manifest.isprintable() and manifest else ascii(manifest)
    if provider is not None and provider not in kinds:
        near = nearest(provider, kinds)
        advice = f"did you mean {near!r}?" if near else f"it must be one of {', '.join(kinds)}"
        yield Complaint(file, f"--provider {provider!r} is no provider: {advice}")
        return
    rows = 0
    try:
        with opened(manifest, stdin, fetch) as source:
            schema = Schema(file, source.folder, kinds, provider, ignore_extra, now or datetime.now(UTC))
            for record in _records(source, schema):
                yield check(record, schema)
                rows = record.number
    except UnreadableError as error:
        after = f" (the last complete row is {rows})" if rows else ""
        for text in error.texts:
            yield Complaint(file, f"{text}{after}", line=error.line)
    else:
        if not rows:
            yield Complaint(file, "has no rows")


def _records(source: Source, schema: Schema) -> Iterator[Record]:
    if source.format == "jsonl":
        return objects.line_records(source.stream)
    if source.format == "json":
        return objects.array_records(source.stream)
    delimiter = _DELIMITERS[source.format]
    problems = partial(schema.header_problems, delimiter=delimiter)
    return table.records(source.stream, delimiter, problems, schema.is_export)
