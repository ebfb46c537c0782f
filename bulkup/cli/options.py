"""Options that several commands share."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Annotated

import typer

from bulkup.private import WITHHELD

Ledger = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        "-l",
        help="The results ledger: a SQLite file, or postgresql://HOST/DATABASE.",
        show_default="bulkup.db",
    ),
]


def keep_names_private() -> None:
    """Have no traceback and no message of asyncio show what an exception or an object holds."""
    sys.excepthook = _where_only
    logging.getLogger("asyncio").addFilter(_wordless)


def _where_only(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    lines = "".join(traceback.format_tb(trace))
    typer.echo(f"Traceback (most recent call last):\n{lines}{kind.__name__}: {WITHHELD}", err=True)


def _wordless(record: logging.LogRecord) -> bool:
    record.msg, record.args, record.exc_info = f"a message of asyncio is {WITHHELD}", None, None
    return True


def configure_logging(verbose: int) -> None:
    """Log to standard error: warnings, with -v what is going on, with -vv each request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logger = logging.getLogger("bulkup")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])
