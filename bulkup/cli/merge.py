"""``bulkup ledger``: what is done with whole ledgers."""

from __future__ import annotations

from typing import Annotated

import typer

from bulkup.ledger.merge import merge as merge_ledgers
from bulkup.location import located

ledger = typer.Typer(
    name="ledger", add_completion=False, help="What is done with whole ledgers: merge.", no_args_is_help=True
)


@ledger.callback()
def _ledger() -> None:
    """Have typer make a group, although it has one command only."""


@ledger.command()
def merge(
    ledgers: Annotated[
        list[str], typer.Argument(metavar="LEDGER...", help="SQLite files, or postgresql://HOST/DATABASE.")
    ],
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The ledger that gets all of it, made if need be; also a URL.")
    ],
) -> None:
    """Put what several ledgers hold into one: rows, their history, and runs; all of it or nothing.

    Ledgers that both tell of one row are refused.

    Example: bulkup ledger merge 1.db 2.db 3.db -o all.db
    """
    target = located(output)
    merged = merge_ledgers([located(each) for each in ledgers], target)
    typer.echo(f"{target.where}: {merged.rows} rows and {merged.runs} runs more, of {len(ledgers)} ledgers")
