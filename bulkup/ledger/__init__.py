"""The ledger: queue, write-ahead log and the report's source. The only package that speaks SQL."""

from bulkup.ledger.admission import Admission
from bulkup.ledger.marks import Answered, Ended, GivenUp, Initiated, Mark, Measured, Reset, Stored
from bulkup.ledger.records import Candidate, Leftover, Orphan
from bulkup.ledger.schema import Fate
from bulkup.ledger.sharded import Mine
from bulkup.ledger.store import Ledger

__all__ = [
    "Admission",
    "Answered",
    "Candidate",
    "Ended",
    "Fate",
    "GivenUp",
    "Initiated",
    "Ledger",
    "Leftover",
    "Mark",
    "Measured",
    "Mine",
    "Orphan",
    "Reset",
    "Stored",
]
