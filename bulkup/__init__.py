"""Bulk uploader for vendors' document APIs: one manifest in, every file sent once, a ledger that can prove it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkup.errors import (
    BulkupError,
    ConfigError,
    DefectError,
    LedgerError,
    LedgerReadError,
    LedgerWriteError,
    ManifestError,
    StepError,
    UsageError,
)
from bulkup.events import DocumentEnded, Event, Notice, RunStarted, Subscriber, Summary, Transferred
from bulkup.model import Failure, Stage, State
from bulkup.rows import Complaint
from bulkup.secret import SignedUrl

if TYPE_CHECKING:
    from bulkup.client import Client, connect
    from bulkup.providers.remote import RemoteDocument, RemoteFile, ViewUrl
    from bulkup.run import upload

__all__ = [
    "BulkupError",
    "Client",
    "Complaint",
    "ConfigError",
    "DefectError",
    "DocumentEnded",
    "Event",
    "Failure",
    "LedgerError",
    "LedgerReadError",
    "LedgerWriteError",
    "ManifestError",
    "Notice",
    "RemoteDocument",
    "RemoteFile",
    "RunStarted",
    "SignedUrl",
    "Stage",
    "State",
    "StepError",
    "Subscriber",
    "Summary",
    "Transferred",
    "UsageError",
    "ViewUrl",
    "connect",
    "upload",
]


_LATER = {
    "Client": "bulkup.client",
    "RemoteDocument": "bulkup.providers.remote",
    "RemoteFile": "bulkup.providers.remote",
    "ViewUrl": "bulkup.providers.remote",
    "connect": "bulkup.client",
    "upload": "bulkup.run",
}
"""What is loaded when it is asked for, and where it is: with it come the vendors, SQLAlchemy, asyncio."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
