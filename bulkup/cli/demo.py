"""``bulkup demo``: the main job on sample documents, against the sandbox."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from bulkup import config
from bulkup.cli import run as running
from bulkup.errors import BulkupError
from bulkup.ledgers import open_ledger
from bulkup.run import Order

_SHOWN = 5


def demo(
    *,
    folder: Annotated[Path, typer.Option(help="Where documents, manifest and ledger are put.")] = Path("bulkup-demo"),
) -> None:
    """Send a small archive of PDF, JPEG and PNG documents to all vendors of the sandbox, and show what came of it.

    Example: bulkup demo --folder bulkup-demo
    """
    if folder.exists() and not (folder / "manifest.csv").exists():
        raise BulkupError(f"{folder}: exists and is no folder of this demo: name another with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    with resources.as_file(resources.files("bulkup.demo") / "archive") as archive:
        shutil.copytree(archive, folder)
    manifest, ledger = folder / "manifest.csv", folder / "bulkup.db"
    with _sandbox(folder / "stored") as environment:
        typer.echo(f"$ bulkup run {manifest} --ledger {ledger}", err=True)
        settings = config.settings(ledger=ledger)
        summary = running.upload(Order(str(manifest)), settings, environment=environment, as_json=False)
    with open_ledger(ledger, exclusive=False) as opened:
        rows = list(opened.rows())
    typer.echo(f"\nthe first of {len(rows)} ledger rows:")
    for row in rows[:_SHOWN]:
        sent = f"{row['filename']}, {row['size']} bytes -> {row['provider']}"
        typer.echo(f"  row {row['row']}: {sent}: {row['state']} {row['document_id']}")
    typer.echo(f"\nmanifest   {manifest.resolve()}")
    typer.echo(f"ledger     {ledger.resolve()}  (bulkup status --ledger {ledger})")
    typer.echo(f"what the sandbox stored   {(folder / 'stored').resolve()}")
    raise typer.Exit(summary.exit_code)


@contextmanager
def _sandbox(data: Path) -> Iterator[dict[str, str]]:
    """A sandbox in a process of its own; gives the environment that it asks for."""
    command = [sys.executable, "-m", "bulkup", "sandbox", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            yield dict(_exports(process))
        finally:
            process.terminate()


def _exports(process: subprocess.Popen[str]) -> Iterator[tuple[str, str]]:
    """What the ``export NAME=value`` lines say; a comment follows the last of them."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    for line in process.stdout:
        if line.startswith("#"):
            return
        (assignment,) = shlex.split(line)[1:]
        name, _, value = assignment.partition("=")
        yield name, value
    raise BulkupError("the sandbox did not start")
