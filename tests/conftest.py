"""What the tests share: an archive on disk with its manifest, and runs against the sandbox."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import settings
from sqlalchemy import Table

import bulkup
from bulkup.events import DocumentEnded, Event, Notice
from bulkup.ledger import Ledger
from bulkup.ledger.schema import metadata
from bulkup.ledgers import open_ledger
from bulkup.sandbox import LightReachOptions, Sandbox
from tests import postgresql

# the same few examples each time, so that nobody's change fails by another's chance; `make fuzz` looks for new ones
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("fuzz", max_examples=int(os.environ.get("EXAMPLES", "2000")), deadline=None, database=None)
settings.load_profile("fuzz" if "EXAMPLES" in os.environ else "same")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The standard event loop; where a test is marked ``loops``, uvloop too, on which the command runs."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return loops | {"uvloop": uvloop.new_event_loop} if item.get_closest_marker("loops") else loops


QUICK: dict[str, object] = {"retry_for": 0.5, "settle": 0.3, "job_timeout": 5, "drain": 5}
"""Patience for tests: long enough to retry, short enough to fail soon."""


class Archive:
    """Documents in a folder, and the manifest that lists them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, str]] = []
        self.file = folder / "bulkup.db"
        self.ledger: Path | str = postgresql.ledger() if postgresql.EVERYWHERE else self.file
        self.events: list[Event] = []

    def add(self, name: str, content: bytes | None = None, /, **columns: str) -> Path:
        """A file (None: some content of its own) and its row."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode() if content is None else content)
        self.row(name, **columns)
        return path

    def row(self, path: str, /, **columns: str) -> None:
        """A row, whether there is such a file or not."""
        lightreach = columns.get("provider", "lightreach") == "lightreach"
        defaults = {"account_id": "A-1", "type": "utilityBill"} if lightreach else {}
        self.rows.append({"path": path} | defaults | columns)

    def manifest(self) -> Path:
        """The rows as a CSV file."""
        path = self.folder / "manifest.csv"
        names = dict.fromkeys(name for row in self.rows for name in row)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names), restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        return path

    async def upload(self, sandbox: Sandbox, manifest: Path | str | None = None, **options: Any) -> bulkup.Summary:
        """Run the manifest (None: one of the rows) against a sandbox."""
        self.events.clear()
        provider = None if any("provider" in row for row in self.rows) else "lightreach"
        given: dict[str, Any] = {"environment": sandbox.environment(), "provider": provider} | QUICK | options
        return await bulkup.upload(
            manifest or self.manifest(), ledger=self.ledger, on_event=self.events.append, **given
        )

    def former_ids(self) -> list[str]:
        """Document ids that later uploads replaced."""
        return [row[0] for row in self.sql("SELECT document_id FROM former_documents ORDER BY id")]

    def forget(self) -> None:
        """Have a ledger that knows of nothing."""
        if postgresql.EVERYWHERE:
            self.ledger = postgresql.ledger()
        else:
            self.file.unlink()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Carry out a statement on the ledger's database, whichever that is; the rows it gives."""
        with open_ledger(self.ledger, exclusive=False) as ledger:
            result = ledger._connection.exec_driver_sql(statement)  # its tables are no interface of bulkup's
            rows = [tuple(row) for row in result] if result.returns_rows else []
            ledger._connection.commit()
        return rows

    def tables(self) -> dict[Table, list[dict[str, Any]]]:
        """All that the ledger holds now, while a run goes on."""
        with open_ledger(self.ledger, exclusive=False) as ledger:
            return {table: _dicts(ledger, table) for table in metadata.sorted_tables}

    def restore(self, tables: Mapping[Table, list[dict[str, Any]]]) -> None:
        """Have the ledger hold what it held before, as if the run had been killed then."""
        with open_ledger(self.ledger) as ledger:
            for table in reversed(list(tables)):
                ledger._connection.execute(table.delete())
            for table, rows in tables.items():
                if rows:
                    ledger._connection.execute(table.insert(), rows)
            ledger._connection.commit()

    def workers(self) -> list[int]:
        """Process ids of the workers that registered and did not end."""
        return [int(name.split(":")[1]) for (name,) in self.sql("SELECT name FROM workers WHERE NOT ended")]

    def ended(self) -> dict[int, DocumentEnded]:
        """How each row of the last run ended."""
        return {event.row: event for event in self.events if isinstance(event, DocumentEnded)}

    def notices(self) -> list[str]:
        """What the last run said beside its rows."""
        return [event.text for event in self.events if isinstance(event, Notice)]

    def ledger_rows(self) -> list[Mapping[str, Any]]:
        """The ledger's rows in manifest order."""
        with open_ledger(self.ledger, exclusive=False) as ledger:
            return sorted(ledger.rows(), key=lambda row: row["row"])


def _dicts(ledger: Ledger, table: Table) -> list[dict[str, Any]]:
    return [dict(row) for row in ledger._connection.execute(table.select()).mappings()]


def stored(sandbox: Sandbox) -> list[tuple[str, str, str | float | None, tuple[tuple[str, str], ...]]]:
    """What the vendor holds: account, type, reference, and name and SHA-256 of each file; sorted."""
    return sorted(
        (
            (
                document.account,
                document.type,
                document.external_reference,
                tuple((file.name, hashlib.sha256(sandbox.store.read(file.key)).hexdigest()) for file in document.files),
            )
            for document in sandbox.lightreach.documents
        ),
        key=repr,
    )


def login(sandbox: Sandbox, options: LightReachOptions) -> dict[str, str]:
    """An environment with a user instead of a token."""
    return {
        "BULKUP_LIGHTREACH_BASE_URL": f"{sandbox.url}/lightreach",
        "BULKUP_LIGHTREACH_USERNAME": options.username,
        "BULKUP_LIGHTREACH_PASSWORD": options.password,
    }


def sha256(path: Path) -> str:
    """A file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return Archive(tmp_path)
