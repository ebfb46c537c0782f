"""A ledger of an older bulkup: brought up to date when it is opened, with all that is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.pool import NullPool

from bulkup.ledger.schema import VERSION
from bulkup.sandbox import Sandbox
from tests import postgresql
from tests.conftest import Archive

_WITHOUT_WORKERS = ("DROP TABLE shards", "DROP TABLE workers", "DROP TABLE notices")
_WITHOUT_ORPHANS = (
    "ALTER TABLE documents DROP COLUMN orphan",
    "ALTER TABLE former_documents DROP COLUMN fate",
)
_FIRST = "UPDATE bulkup_meta SET value = '1' WHERE name = 'schema_version'"
_SECOND = "UPDATE bulkup_meta SET value = '2' WHERE name = 'schema_version'"
_BACK = {
    ("sqlite", 1): (
        *_WITHOUT_WORKERS,
        *_WITHOUT_ORPHANS,
        "UPDATE bulkup_meta SET value = '1' WHERE name = 'schema_version'",
    ),
    ("sqlite", 2): (*_WITHOUT_WORKERS, _SECOND),
    ("postgresql", 2): (
        *_WITHOUT_WORKERS,
        _SECOND,
        "ALTER TABLE documents ALTER COLUMN share TYPE TEXT",
        "CREATE INDEX documents_by_state ON documents (state)",
        "ALTER TABLE documents RESET (fillfactor)",
    ),
}
"""What makes a ledger one of an earlier version again; PostgreSQL's first one was 2."""


@contextmanager
def _opened(archive: Archive) -> Iterator[Connection]:
    url = str(archive.ledger) if "://" in str(archive.ledger) else f"sqlite:///{archive.ledger}"
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def _change(archive: Archive, statements: Sequence[str]) -> None:
    with _opened(archive) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


def _schema(archive: Archive) -> object:
    """Tables, columns, indexes, and what PostgreSQL knows of the table of documents."""
    with _opened(archive) as connection:
        found = inspect(connection)
        tables = {
            name: (
                sorted((column["name"], repr(column["type"])) for column in found.get_columns(name)),
                sorted(str(index["name"]) for index in found.get_indexes(name)),
            )
            for name in sorted(found.get_table_names())
        }
        if connection.dialect.name == "sqlite":
            return tables
        storage = "SELECT reloptions FROM pg_class WHERE oid = 'documents'::regclass"
        return tables, connection.exec_driver_sql(storage).scalar()


@pytest.mark.parametrize(("database", "version"), _BACK)
async def test_an_older_ledger(archive: Archive, database: str, version: int) -> None:
    """It becomes what a new one is, and what it says was completed is not sent again."""
    archive.ledger = postgresql.ledger() if database == "postgresql" else archive.file
    for number in range(3):
        archive.add(f"{number}.pdf")
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox)).completed == 3
        schema = _schema(archive)
        _change(archive, _BACK[database, version])
        assert _schema(archive) != schema
        before = sandbox.requests.total()
        assert (await archive.upload(sandbox)).skipped == 3
        assert sandbox.requests.total() == before
    assert _schema(archive) == schema
    with _opened(archive) as connection:
        found = connection.exec_driver_sql("SELECT value FROM bulkup_meta WHERE name = 'schema_version'").scalar()
    assert found == str(VERSION)
