"""The command line. Every error that a user can cause ends in one line and exit code 2 or 1, without a traceback."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from bulkup.cli import demo, documents, ledger, orphans, run, sandbox, schema
from bulkup.errors import BulkupError, UsageError

app = typer.Typer(
    name="bulkup",
    help="Upload document archives into vendors' document APIs: one manifest in, every file sent once, "
    "a ledger that can prove it.",
    epilog="Exit codes: 0 all rows completed or skipped; 1 some failed; 2 nothing was sent; 3 some are unknown, "
    "a person must look; 4 stopped by a limit, run again for the rest; 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("export")(ledger.export)
app.command("status")(ledger.status)
app.command("orphans")(orphans.orphans)
app.command("retry")(ledger.retry)
app.command("schema")(schema.schema)
app.command("sandbox")(sandbox.sandbox)
app.command("demo")(demo.demo)
app.add_typer(documents.app, name="documents")


class _InterruptedError(BaseException):
    """Ctrl-C while nothing is sent yet; not a KeyboardInterrupt, of which typer makes an end without a word."""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise _InterruptedError


def main() -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except BulkupError as error:
        print(f"bulkup: {error}", file=sys.stderr)  # noqa: T201 - the one place that shows an error
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except (_InterruptedError, KeyboardInterrupt):
        print("bulkup: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
