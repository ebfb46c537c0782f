"""``bulkup export`` and ``bulkup status``: what the ledger knows."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import orjson
import typer

from bulkup import config
from bulkup.cli import options
from bulkup.errors import UsageError
from bulkup.export import Format, own_columns, write_csv, write_jsonl
from bulkup.ledger import Fate
from bulkup.ledgers import open_ledger
from bulkup.model import State


def export(
    *,
    ledger: options.Ledger = None,
    state: Annotated[State | None, typer.Option(help="Only rows in this state.")] = None,
    run: Annotated[str | None, typer.Option(help="Only rows that this run brought into their state.")] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to write them.")] = Format.JSONL,  # noqa: A002 - the option
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, readable by its owner only.", show_default="stdout")
    ] = None,
) -> None:
    """Write the ledger's rows. Failed rows as CSV are a valid manifest again.

    Example: bulkup export --state failed --format csv -o failed.csv
    """
    settings = config.settings(ledger=ledger)
    file = settings.ledger.file
    if output is not None and output.exists() and file is not None and file.exists() and output.samefile(file):
        raise UsageError(f"{output}: is the ledger itself")
    with open_ledger(settings.ledger, exclusive=False) as opened, _writing(output) as out:
        if format is Format.JSONL:
            write_jsonl(opened.rows(state, run), out)
            return
        columns = own_columns(opened.rows(state, run))
        text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
        write_csv(opened.rows(state, run), columns, text)
        text.detach()


@contextmanager
def _writing(output: Path | None) -> Iterator[BinaryIO]:
    """A binary stream to a file that only its owner can read, or to standard output."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"{output}: can't write: {error.strerror}") from None
    with os.fdopen(file, "wb") as out:
        if stat.S_ISREG(os.fstat(file).st_mode):
            _for_the_owner(file, output)
        yield out


def _for_the_owner(file: int, output: Path) -> None:
    """Empty a file, and let nobody else read what will be in it."""
    try:
        os.fchmod(file, 0o600)
        os.ftruncate(file, 0)
    except OSError as error:
        raise UsageError(f"{output}: can't be kept to yourself: {error.strerror}") from None


def retry(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The rows' keys, as the ledger has them.")],
    *,
    ledger: options.Ledger = None,
) -> None:
    """Let failed rows be sent again that no run repeats by itself, such as Auco's: people would notice.

    The next run of their manifest sends them. Nothing is sent now.

    Example: bulkup retry auco:0123456789abcdef0123456789abcdef --ledger archive.db
    """
    settings = config.settings(ledger=ledger)
    if settings.ledger.missing:
        raise UsageError(f"{settings.ledger}: there is no ledger here (--ledger names another)")
    with open_ledger(settings.ledger) as opened:
        released = opened.release(keys)
    if missing := [key for key in keys if key not in released]:
        raise UsageError(f"{', '.join(missing)}: no failed row has this key; {len(released)} others will be sent again")
    typer.echo(f"{len(released)} rows will be sent again by the next run of their manifest")


_FATES = {Fate.ARCHIVED: "archived", Fate.LEFT: "left there"}
_COUNTED = ("completed", "failed", "skipped", "unknown", "pending")


def status(
    *,
    ledger: options.Ledger = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how many rows are in which state, why some failed, and what the last runs did.

    Example: bulkup status --ledger archive.db
    """
    settings = config.settings(ledger=ledger)
    with open_ledger(settings.ledger, exclusive=False) as opened:
        totals = {state.value: opened.totals().get(state, 0) for state in State}
        reasons = opened.reasons()
        orphans = opened.orphans()
        runs = opened.runs(limit=5)
    if json:
        facts = {
            "states": totals,
            "reasons": [
                dict(zip(("state", "stage", "error_code", "rows", "example"), reason, strict=True))
                for reason in reasons
            ],
            "records_without_bytes": {fate.value: count for fate, count in orphans.items()},
            "runs": runs,
        }
        sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE))
        return
    typer.echo(f"{settings.ledger.where}: {sum(totals.values())} rows")
    for state, count in totals.items():
        if count:
            typer.echo(f"  {count:>9} {state}")
    for state, stage, code, count, example in reasons:
        typer.echo(f"  {count:>9} {state} at {stage}: {code}, such as: {example}")
    for fate, count in orphans.items():
        typer.echo(f"  {count:>9} records at the vendor never got their bytes: {_FATES[fate]}")
    for run in runs:
        facts = run["summary"] or {}
        ended = f"ended {run['finished_at']}" if run["finished_at"] else "did not end"
        counts = ", ".join(f"{facts[name]} {name}" for name in _COUNTED if facts.get(name))
        what = f"{run['manifest']}, shard {facts['shard']}" if facts.get("shard") else run["manifest"]
        typer.echo(f"  run {run['run_id']}: {what}, {run['rows']} rows, {ended}{counts and ': ' + counts}")
