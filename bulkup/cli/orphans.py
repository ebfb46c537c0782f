"""``bulkup orphans``: records that vendors made and that never got their bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Annotated

import anyio
import orjson
import typer

from bulkup import config
from bulkup.cli import options
from bulkup.client import connect
from bulkup.errors import BulkupError, UsageError
from bulkup.ledger import Fate, Ledger, Orphan
from bulkup.ledgers import open_ledger

_WORDS = {Fate.ARCHIVED: "archived", Fate.LEFT: "left there"}


def orphans(
    *,
    archive: Annotated[
        bool, typer.Option("--archive", help="Have the vendor archive those that are left, where it has a way.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    ledger: options.Ledger = None,
) -> None:
    """List the vendors' records that never got their bytes: an init was answered, and another one took its place.

    Example: bulkup orphans --archive --ledger archive.db
    """
    settings = config.settings(ledger=ledger)
    if archive and settings.ledger.missing:
        raise UsageError(f"{settings.ledger}: there is no ledger here (--ledger names another)")
    with open_ledger(settings.ledger, exclusive=archive) as opened:
        found = opened.records_without_bytes()
        if archive:
            found = _archived(opened, found)
    for orphan in found:
        if json:
            sys.stdout.buffer.write(orjson.dumps(asdict(orphan), option=orjson.OPT_APPEND_NEWLINE))
        else:
            where = f"{orphan.provider} {orphan.target}: record {orphan.record}"
            typer.echo(f"{where} of row {orphan.row} ({orphan.filename!r}): {_WORDS[orphan.fate]}")
    sys.stdout.flush()


def _archived(ledger: Ledger, orphans: Iterable[Orphan]) -> list[Orphan]:
    """The same, those archived that are left and can be; why one can't goes to standard error."""
    found: list[Orphan] = []
    for orphan in orphans:
        if orphan.fate is Fate.LEFT:
            try:
                anyio.run(_archive, orphan)
            except BulkupError as error:
                typer.echo(f"record {orphan.record}: {error}", err=True)
            else:
                ledger.put_away(orphan)
                found.append(replace(orphan, fate=Fate.ARCHIVED))
                continue
        found.append(orphan)
    return found


async def _archive(orphan: Orphan) -> None:
    async with connect(orphan.provider) as client:
        await client.archive_document(orphan.target, orphan.record)
