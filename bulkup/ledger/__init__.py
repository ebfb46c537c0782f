"""The ledger: queue, write-ahead log and the report's source. The only package that speaks SQL."""

from bulkup.ledger.admission import Admission
from bulkup.ledger.leases import EVERYTHING, Lease, Leases, Order, Span, Worker
from bulkup.ledger.marks import Answered, Ended, GivenUp, Initiated, Mark, Measured, Reset, Stored
from bulkup.ledger.records import Candidate, Leftover, Orphan
from bulkup.ledger.schema import Fate
from bulkup.ledger.sharded import Mine
from bulkup.ledger.store import Ledger

__all__ = [
    "EVERYTHING",
    "Admission",
    "Answered",
    "Candidate",
    "Ended",
    "Fate",
    "GivenUp",
    "Initiated",
    "Lease",
    "Leases",
    "Ledger",
    "Leftover",
    "Mark",
    "Measured",
    "Mine",
    "Order",
    "Orphan",
    "Reset",
    "Span",
    "Stored",
    "Worker",
]
