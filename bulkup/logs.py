"""What a process writes to standard error beside its progress: logs, and the traces of defects."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType

from bulkup.private import WITHHELD

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def write(verbose: int) -> None:
    """Log to standard error: warnings; with 1 what is going on; with 2 each request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logger = logging.getLogger("bulkup")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])


def verbosity() -> int:
    """What `write` was told, as far as that can be seen; 0 if it was not called."""
    level = logging.getLogger("bulkup").level
    return _LEVELS.index(level) if level in _LEVELS else 0


def keep_names_private() -> None:
    """Have no traceback and no message of asyncio show what an exception or an object holds."""
    sys.excepthook = _where_only
    logging.getLogger("asyncio").addFilter(_wordless)


def _where_only(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    lines = "".join(traceback.format_tb(trace))
    sys.stderr.write(f"Traceback (most recent call last):\n{lines}{kind.__name__}: {WITHHELD}\n")


def _wordless(record: logging.LogRecord) -> bool:
    record.msg, record.args, record.exc_info = f"a message of asyncio is {WITHHELD}", None, None
    return True
