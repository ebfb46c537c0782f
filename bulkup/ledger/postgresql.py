"""A ledger in a PostgreSQL database: opened, and locked for one run at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Connection, create_engine, event, func, select
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from bulkup.errors import LedgerError, LedgerReadError
from bulkup.ledger.common import JSON, PLACE, explain
from bulkup.location import Location

_LOCK = 0x62756C6B
"""The first number of the advisory lock that a run holds, ``bulk`` in ASCII; the second one stands for the schema."""

_GOING_MS = 2000
"""Milliseconds in which the server notices that a run is gone."""

_UNLESS_GIVEN: Mapping[str, Any] = {
    "application_name": "bulkup",
    "connect_timeout": 10,
    # a server that is not reachable any more is given up after 35 s or so, not after TCP's hours
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""What libpq is told where the URL does not say otherwise."""


def connect(location: Location, stack: ExitStack, *, exclusive: bool) -> Connection:
    """Open a database; see `database.opened`. What is not in the URL comes from libpq's environment and files."""
    if find_spec("psycopg") is None:
        raise LedgerError(f"{location}: needs the extra 'postgresql': pip install 'bulkup[postgresql]'")
    given = {**_UNLESS_GIVEN, **_checked(location)}
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connection(given), poolclass=NullPool, **JSON)
    event.listen(engine, "handle_error", explain)

    @event.listens_for(engine, "connect")
    def named(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[PLACE] = location.name

    connection = stack.enter_context(engine.connect())
    if exclusive:
        _lock(connection, location)
    return connection


def _lock(connection: Connection, location: Location) -> None:
    """Keep other runs out, as long as this connection stands; one that just ended gets its time to be gone."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_GOING_MS}")
    try:
        connection.execute(select(func.pg_advisory_lock(_LOCK, func.hashtext(func.current_schema()))))
    except LedgerReadError:
        raise LedgerError(f"{location}: another run is using this ledger; wait for it, or name another") from None
    connection.commit()


def _checked(location: Location) -> Mapping[str, Any]:
    """What the URL says; what is wrong with it is not shown, since libpq quotes it."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - an extra
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - likewise

    try:
        return conninfo_to_dict(location.url or "")
    except ProgrammingError:
        text = "the URL makes no sense to PostgreSQL: it must be like postgresql://HOST/DATABASE"
        raise LedgerError(f"{location}: {text}, with special letters of a password percent-encoded") from None


def _connection(given: Mapping[str, Any]) -> Any:
    import psycopg  # noqa: PLC0415 - an extra

    connection = psycopg.connect(**given)
    # every commit on the disk before it is believed, whatever the server does otherwise
    connection.execute("SET synchronous_commit TO on")
    connection.commit()
    return connection
