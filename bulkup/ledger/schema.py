"""The ledger's tables, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text

VERSION = 2
"""Of the schema. A ledger with a higher one was written by a newer bulkup and is refused."""

metadata = MetaData()

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
    Column("share", Text, nullable=False),
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
    Index("documents_by_state", "state"),
)

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

UPGRADES: Mapping[int, Sequence[str]] = {
    1: ("ALTER TABLE documents ADD COLUMN orphan TEXT", "ALTER TABLE former_documents ADD COLUMN fate TEXT"),
}
"""What makes a ledger of a version one of the next."""


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
