"""Bulk uploader for vendors' document APIs: one manifest in, every file sent once, a ledger that can prove it."""

from bulkup.client import Client, connect
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
from bulkup.providers.remote import RemoteDocument, RemoteFile, ViewUrl
from bulkup.rows import Complaint
from bulkup.run import upload
from bulkup.secret import SignedUrl

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
