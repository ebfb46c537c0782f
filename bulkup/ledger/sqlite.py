"""A ledger in a SQLite file: opened, and locked."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from bulkup.errors import LedgerError
from bulkup.ledger.common import JSON, PLACE, explain

_CACHE_KIB = 16 * 1024
"""Of the ledger, and as much of staged rows. Keys come in any order: with SQLite's 2 MiB a page is read for each."""

_opened: ContextVar[str] = ContextVar("opened")


def connect(path: Path | None, stack: ExitStack, *, exclusive: bool) -> Connection:
    """Open a SQLite file, or (None) a database that is forgotten when it is closed; see `database.opened`."""
    if path is not None and exclusive:
        _lock(path, stack)
    elif path is not None and not path.exists():
        raise LedgerError(f"{path}: there is no ledger here (--ledger names another)")
    # to SQLite an empty name is a database of its own on disk, deleted when it is closed
    _opened.set("" if path is None else str(path))
    return stack.enter_context(_engine().connect())


@cache
def _engine() -> Engine:
    """Opens what `_opened` names; one for all ledgers, since it keeps the statements that it compiled."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(_opened.get(), check_same_thread=False),
        poolclass=NullPool,
        **JSON,
    )
    event.listen(engine, "connect", _durable)
    event.listen(engine, "handle_error", explain)
    return engine


def _lock(path: Path, stack: ExitStack) -> None:
    """Make the file if need be, and keep other runs out of it."""
    try:
        real = path.resolve()
        str(real).encode()
        if not real.parent.is_dir():  # the lock would make it
            raise LedgerError(f"{path}: can't open the ledger: there is no folder {str(real.parent)!r}")
        # opened and closed in different threads, hence not thread-local
        stack.enter_context(FileLock(f"{real}.lock", timeout=0, mode=0o600, thread_local=False))
        os.close(os.open(real, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for name in ("", "-wal", "-shm", "-journal", ".lock"):
            with suppress(FileNotFoundError, PermissionError):  # that of another owner is the owner's business
                os.chmod(f"{real}{name}", 0o600)  # noqa: PTH101 - no suffix in the sense of Path
    except Timeout:
        raise LedgerError(f"{path}: another run is using this ledger; wait for it, or name another") from None
    except OSError as error:
        raise LedgerError(f"{path}: can't open the ledger: {error.strerror}") from None
    except UnicodeError:
        raise LedgerError(f"{str(path)!a}: the ledger's path is not UTF-8") from None


def _durable(connection: Any, record: ConnectionPoolEntry) -> None:
    """Write-ahead log, every commit on the disk before it is believed, and room for the pages of the indexes."""
    record.info[PLACE] = _opened.get()
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    for schema in ("main", "temp"):
        cursor.execute(f"PRAGMA {schema}.cache_size=-{_CACHE_KIB}")
    cursor.close()
