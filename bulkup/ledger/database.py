"""The database behind a ledger, SQLite's or PostgreSQL's: opened, and brought up to date."""

from __future__ import annotations

from contextlib import ExitStack

from sqlalchemy import Connection, func, insert, inspect, select, update

from bulkup.errors import LedgerError, LedgerReadError
from bulkup.ledger import postgresql, sqlite
from bulkup.ledger.common import DAMAGED
from bulkup.ledger.schema import UPGRADES, VERSION, meta, metadata, workers
from bulkup.location import Location


def name(location: Location | None) -> str:
    """What users are told it is called."""
    return str(location) if location is not None else "the temporary ledger"


def opened(location: Location | None, stack: ExitStack, *, exclusive: bool, create: bool = True) -> Connection:
    """Open a ledger's database.

    Args:
        location: where it is; None: a database that is forgotten when it is closed.
        stack: gives everything back.
        exclusive: for a run: makes the tables (and the file, readable by its owner only) if need be, and locks out
            other runs.
        create: False: even so, no tables are made.

    Raises:
        LedgerError: it can't be opened, is newer than this bulkup, or is in use.
    """
    try:
        if location is not None and location.url is not None:
            connection = postgresql.connect(location, stack, exclusive=exclusive)
        else:
            connection = sqlite.connect(None if location is None else location.file, stack, exclusive=exclusive)
        _prepare(connection, name(location), create=exclusive and create)
        if exclusive:
            _alone(connection)
    except LedgerReadError as error:
        raise LedgerError(f"{name(location)}: {error.words}") from None
    except UnicodeDecodeError:  # SQLite quotes what it finds in a damaged file
        raise LedgerError(f"{name(location)}: {DAMAGED}") from None
    return connection


def _prepare(connection: Connection, name: str, *, create: bool) -> None:
    """Have the tables of this version."""
    tables = inspect(connection).get_table_names()
    if "bulkup_meta" not in tables:
        # a file is a ledger's alone, and a database of a server may be shared
        foreign = tables if connection.dialect.name == "sqlite" else metadata.tables.keys() & set(tables)
        if foreign or not create:
            raise LedgerError(f"{name}: is not a ledger of bulkup")
        _begin(connection)  # all of it, or nothing
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


def _alone(connection: Connection) -> None:
    """See that nobody else writes any more, such as workers of a run that was killed."""
    working = ~workers.c.ended
    if connection.scalar(select(func.count()).where(working)):
        connection.rollback()
        connection.execute(update(workers).where(working).values(ended=True))
    connection.commit()


def _begin(connection: Connection) -> None:
    """Begin to write: SQLite has to be told, or what comes might fail half-way."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection, version: int) -> None:
    """Bring an older ledger up to date, all of it or nothing."""
    _begin(connection)
    for step in range(version, VERSION):
        for statement in UPGRADES[step].get(connection.dialect.name, ()):
            connection.exec_driver_sql(statement)
    metadata.create_all(connection)
    connection.execute(update(meta).where(meta.c.name == "schema_version").values(value=str(VERSION)))
    connection.commit()
