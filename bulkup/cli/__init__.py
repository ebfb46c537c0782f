"""The command line. Every error that a user can cause ends in one line and exit code 2 or 1, without a traceback."""

from __future__ import annotations

import signal
import sys
from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from bulkup.errors import BulkupError, UsageError

_COMMANDS: Mapping[str, str] = {
    "run": "run",
    "export": "ledger",
    "status": "ledger",
    "orphans": "orphans",
    "retry": "ledger",
    "ledger": "merge",
    "schema": "schema",
    "sandbox": "sandbox",
    "demo": "demo",
    "documents": "documents",
}
"""Each command, and the module beside this one that has it under its name: a function, or a Typer of subcommands."""


class _Loaded(UserDict[str, Any]):
    """Click's commands by name, of which one costs nothing until it is asked for."""

    def __getitem__(self, name: str) -> Any:
        """Load a command, or raise KeyError."""
        found = getattr(import_module(f"{__name__}.{self.data[name]}"), name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command(name)(found)
            found = alone
        return typer.main.get_command(found)


class _Commands(TyperGroup):
    """The commands, loaded one by one: a run has no use for what the others need."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Loaded(_COMMANDS)


app = typer.Typer(
    cls=_Commands,
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


@app.callback()
def _bulkup() -> None:
    """Have typer make a group, although it knows no command yet."""


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
        print("bulkup: interrupted", file=sys.stderr)  # noqa: T201 - likewise
        sys.exit(130)
