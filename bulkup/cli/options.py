"""Options that several commands share."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

Ledger = Annotated[
    Path | None,
    typer.Option("--ledger", "-l", help="The results ledger, a SQLite file.", show_default="bulkup.db"),
]


def configure_logging(verbose: int) -> None:
    """Log to standard error: warnings, with -v what is going on, with -vv each request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logger = logging.getLogger("bulkup")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])
