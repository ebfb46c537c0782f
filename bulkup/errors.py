"""Every exception that leaves bulkup.

    BulkupError                 base of all
    ├── UsageError              nothing was sent: the caller has to change something (exit code 2)
    │   ├── ManifestError       rows or the whole manifest are bad; carries the complaints
    │   ├── ConfigError         a setting or a credential is missing or makes no sense
    │   └── LedgerError         the ledger can't be opened, is newer than this bulkup, or is in use
    ├── LedgerWriteError        the ledger can't be written any more (a full disk): the run stops
    │   └── LeaseLostError      a worker was given up by the others of its run, and must not go on
    ├── DefectError               bulkup's own count does not add up; please report it
    └── StepError               one step of one upload did not succeed; carries a `Failure`

No message holds a credential or a signed URL.
"""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.model import Failure
from bulkup.rows import Complaint


class BulkupError(Exception):
    """Base of all errors of bulkup; its text is one line for the user."""


class UsageError(BulkupError):
    """The caller has to change something; nothing was sent."""


class ManifestError(UsageError):
    """The manifest can't be used as it is.

    Attributes:
        complaints: all that was found, in the order of the manifest; empty where each was told as it was found.
    """

    def __init__(self, text: str, complaints: Sequence[Complaint] = ()) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join([*map(str, self.complaints), text]))


class ConfigError(UsageError):
    """A setting or a credential is missing or makes no sense."""


class LedgerError(UsageError):
    """The ledger can't be used."""


class LedgerReadError(BulkupError):
    """The ledger can't be read: it is damaged, perhaps.

    Attributes:
        words: the database's own.
        place: the ledger's name, if it is known.
    """

    def __init__(self, words: str, place: str | None = None) -> None:
        super().__init__(
            f"can't read the ledger: {words}" if place is None else f"{place}: can't read the ledger: {words}"
        )
        self.words = words
        self.place = place


class LedgerWriteError(BulkupError):
    """The ledger can't be written any more; what was in flight is reconciled by the next run."""


class LeaseLostError(LedgerWriteError):
    """A worker was silent for too long, and others go on with its rows: it must not write or send any more."""


class DefectError(BulkupError):
    """An invariant of bulkup itself does not hold."""


class StepError(BulkupError):
    """One step did not succeed.

    Attributes:
        failure: why, and whether it may be repeated.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"{failure.code}: {failure.text}")
