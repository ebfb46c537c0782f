"""The ledger's tables, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
)

VERSION = 3
"""Of the schema. A ledger with a higher one was written by a newer bulkup and is refused."""

metadata = MetaData()

_Bytewise = Text().with_variant(Text(collation="C"), "postgresql")
"""Text in the order of its bytes, as SQLite has it by itself: what begins alike stands together."""

meta = Table(
    "bulkup_meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("manifest", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    Column("rows", Integer),
    Column("summary", JSON),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("row", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("cells", JSON, nullable=False),
    Column("share", _Bytewise, nullable=False),
    Column("bundled", Boolean, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("admitted_by", Text, nullable=False),  # the last run whose manifest lists it
    Column("run_id", Text, nullable=False),  # the run that brought it into its present state
    Column("state", Text, nullable=False),
    Column("stage", Text),
    Column("error_code", Text),
    Column("error", Text),
    Column("retriable", Boolean, nullable=False, default=True),
    Column("alone", Boolean, nullable=False, default=False),  # its batch failed for one row's sake, perhaps this one's
    Column("flow", Text),
    Column("job_id", Text),
    Column("document_id", Text),
    Column("orphan", Text),  # a record of it that got no bytes; empty: there may be one, of unknown id
    Column("attempts", Integer, nullable=False, default=0),
    Column("size", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("md5", Text),
    Column("sha256", Text),
    Column("initiated_at", Text),
    Column("stored_at", Text),
    Column("finished_at", Text),
    Index("documents_by_plan", "admitted_by", "provider", "bundled", "share", "row"),
    Index("documents_by_state", "state").ddl_if(dialect="sqlite"),
)

_ROOM = "ALTER TABLE documents SET (fillfactor = 70)"
"""PostgreSQL: a mark changes no column that an index has, and finds room on its row's page. So no index grows by it."""

event.listen(documents, "after_create", DDL(_ROOM).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]  # it has no types

former_documents = Table(
    "former_documents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document", ForeignKey("documents.id"), nullable=False, index=True),
    Column("document_id", Text),
    Column("md5", Text),
    Column("replaced_by", Text, nullable=False),  # the run that replaced it
    Column("replaced_at", Text, nullable=False),
    Column("fate", Text),  # of a record that got no bytes, see `Fate`; else it was a document
)

workers = Table(
    "workers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("lease_until", Double, nullable=False),  # seconds since the epoch, by the database's clock
    Column("ended", Boolean, nullable=False),  # it may write no more: it said so, or its lease was over
    Column("told", Integer, nullable=False),  # what it was told to do, see `Order`
    Column("requests", Integer, nullable=False),
    sqlite_autoincrement=True,  # an id is never given again: it is what keeps a worker out that was given up
)
"""Processes that carry out parts of a run; empty between runs."""

shards = Table(
    "shards",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("start_bundled", Boolean),  # where it begins, in the order of `documents_by_plan`
    Column("start_share", _Bytewise),
    Column("start_row", Integer),
    Column("end_bundled", Boolean),  # where the next one begins; NULL: there is none
    Column("end_share", _Bytewise),
    Column("end_row", Integer),
    Column("worker", ForeignKey("workers.id"), index=True),
    Column("fed", Boolean, nullable=False),  # its worker looked at all of its rows
)
"""Parts of a run; empty between runs."""

notices = Table(
    "notices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("gist", Text, nullable=False),
)
"""What workers have to say; empty between runs."""

UPGRADES: Mapping[int, Mapping[str, Sequence[str]]] = {
    1: {
        "sqlite": (
            "ALTER TABLE documents ADD COLUMN orphan TEXT",
            "ALTER TABLE former_documents ADD COLUMN fate TEXT",
        ),
    },
    2: {
        "postgresql": (
            'ALTER TABLE documents ALTER COLUMN share TYPE TEXT COLLATE "C"',
            "DROP INDEX documents_by_state",
            _ROOM,
        ),
    },
}
"""What makes a ledger of a version one of the next, by the database's dialect, beside making tables that are new."""


class Fate(StrEnum):
    """What became of a vendor's record that never got its bytes."""

    LEFT = "left"
    """It is still there."""
    ARCHIVED = "archived"


incoming = Table(
    "incoming",
    MetaData(),
    Column("row", Integer, primary_key=True),
    Column("key", Text, unique=True),  # a bad row has none
    Column("provider", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("cells", JSON, nullable=False),
    Column("share", Text, nullable=False),
    Column("bundled", Boolean, nullable=False),
    Column("group", Text),
    Column("error", Text),
    prefixes=["TEMPORARY"],
)
"""Where a manifest's rows wait until all of them are known to be good."""
