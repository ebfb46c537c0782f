"""The database behind a ledger: opened, locked, and brought up to date."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, update
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from bulkup.errors import LedgerError, LedgerReadError
from bulkup.ledger.schema import UPGRADES, VERSION, meta, metadata


def name(path: Path | None) -> str:
    """What users are told it is called."""
    return str(path) if path is not None else "the temporary ledger"


def open_sqlite(path: Path | None, stack: ExitStack, *, exclusive: bool) -> Connection:
    """Open a SQLite ledger.

    Args:
        path: the file; None: a database that is forgotten when it is closed.
        stack: gives everything back.
        exclusive: for a run: creates the file if need be (readable by its owner only) and locks out other runs.

    Raises:
        LedgerError: it can't be opened, is newer than this bulkup, or is in use.
    """
    if path is not None and exclusive:
        _lock(path, stack)
    elif path is not None and not path.exists():
        raise LedgerError(f"{path}: there is no ledger here (--ledger names another)")
    # to SQLite an empty name is a database of its own on disk, deleted when it is closed
    _opened.set("" if path is None else str(path))
    try:
        connection = stack.enter_context(_engine().connect())
        _prepare(connection, name(path), create=exclusive)
    except LedgerReadError as error:
        raise LedgerError(f"{name(path)}: {error.words}") from None
    except UnicodeDecodeError:  # SQLite quotes what it finds in a damaged file
        raise LedgerError(f"{name(path)}: {_DAMAGED}") from None
    return connection


_DAMAGED = "database disk image is malformed"
"""SQLite's own words for it."""

_PATH = "path"
_opened: ContextVar[str] = ContextVar("opened")


@cache
def _engine() -> Engine:
    """Opens what `_opened` names; one for all ledgers, since it keeps the statements that it compiled."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(_opened.get(), check_same_thread=False),
        poolclass=NullPool,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=decoded,
    )
    event.listen(engine, "connect", _durable)
    event.listen(engine, "handle_error", _refuse)
    return engine


def decoded(text: str) -> Any:
    """A value that was kept as JSON; raises `LedgerReadError`."""
    try:
        return orjson.loads(text)
    except ValueError:
        raise LedgerReadError(_DAMAGED) from None


def _refuse(context: ExceptionContext) -> None:
    """Give the database's own words, without the statement and its parameters."""
    words = (str(context.original_exception).splitlines() or [_DAMAGED])[0].partition(" with text ")[0]
    path = None if context.connection is None else context.connection.info.get(_PATH)
    raise LedgerReadError(words, path) from None


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
    """Write-ahead log, and every commit on the disk before it is believed."""
    record.info[_PATH] = _opened.get()
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _prepare(connection: Connection, name: str, *, create: bool) -> None:
    """Have the tables of this version."""
    tables = inspect(connection).get_table_names()
    if "bulkup_meta" not in tables:
        if tables or not create:
            raise LedgerError(f"{name}: is not a ledger of bulkup")
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # all of it, or nothing
        metadata.create_all(connection)
        connection.execute(insert(meta).values(name="schema_version", value=str(VERSION)))
        connection.commit()
        return
    version = connection.scalar(select(meta.c.value).where(meta.c.name == "schema_version"))
    if version is None or not version.isdecimal():
        raise LedgerError(f"{name}: is not a ledger of bulkup")
    if int(version) > VERSION:
        raise LedgerError(
            f"{name}: was written by a newer bulkup (schema {version}, this one knows {VERSION}): upgrade it"
        )
    connection.rollback()
    if int(version) < VERSION:
        _upgrade(connection, int(version))


def _upgrade(connection: Connection, version: int) -> None:
    """Bring an older ledger up to date, all of it or nothing."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    for step in range(version, VERSION):
        for statement in UPGRADES[step]:
            connection.exec_driver_sql(statement)
    connection.execute(update(meta).where(meta.c.name == "schema_version").values(value=str(VERSION)))
    connection.commit()
