"""What all lanes of a run share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from bulkup.clock import Clock
from bulkup.events import Subscriber
from bulkup.journal import Journal
from bulkup.memory import Memory
from bulkup.terms import Terms
from bulkup.watch import Watch, Watched


@dataclass(frozen=True, slots=True)
class Tools:
    """What all lanes of a run share.

    Attributes:
        run_id: the run's.
        transport: carries requests.
        journal: writes the ledger.
        files: threads that read documents.
        terms: what the user set.
        clock: time and chance.
        emit: is told of every event.
        watch: is told of every move.
        memory: for bodies.
        claimed: answers the ids of all records of a provider's target that the ledger holds.
    """

    run_id: str
    transport: Watched
    journal: Journal
    files: Executor
    terms: Terms
    clock: Clock
    emit: Subscriber
    watch: Watch
    memory: Memory
    claimed: Callable[[str, str], Awaitable[frozenset[str]]]
