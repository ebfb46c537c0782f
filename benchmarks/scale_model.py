"""What the simulation of many workers is told, and what it finds: costs, vendors, the rest of the world, an outcome.

All times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapreplace
from math import inf
from typing import NamedTuple


class Cost(NamedTuple):
    """CPU of one thing done at the ledger: the client's, and the PostgreSQL server's."""

    client: float
    server: float

    def times(self, number: float) -> Cost:
        """So often."""
        return Cost(self.client * number, self.server * number)


@dataclass(frozen=True)
class Costs:
    """What the ledger costs; `benchmarks.scale_costs` measures it.

    Attributes:
        admit, cut: of a row, by the coordinator before any worker begins: taken in, dealt into shards.
        claim: of a shard: claimed, and noted as seen through.
        feed: of a row of a shard, read.
        transaction: with nothing in it but the lease: begun, renewed, durable.
        statement: of one kind of mark in a transaction.
        mark: of one mark.
        look: the coordinator's at its workers, four times a second.
        visit: of a shard whose ended rows the coordinator reads.
        tell: of such a row.
        count: of a row, at the end.
        start: of a process, until it works.
        init, file: CPU of a worker beside the ledger, for an upload and for each file of it.
        flush: until a commit is on the disk; whoever commits meanwhile shares the next one.
    """

    admit: Cost
    cut: Cost
    claim: Cost
    feed: Cost
    transaction: Cost
    statement: Cost
    mark: Cost
    look: Cost
    visit: Cost
    tell: Cost
    count: Cost
    start: float
    init: float
    file: float
    flush: float


@dataclass(frozen=True)
class Flow:
    """A vendor's way of taking files.

    Attributes:
        batch: files of an init.
        init, confirm: requests to the API before the bytes and after them.
        to_api: the bytes go to the API itself, not to a store.
        job: the vendor has a job to follow, instead of `confirm`.
        container: rows that have to be in one shard, on average; 1: there is no such thing.
    """

    name: str
    batch: int = 1
    init: int = 1
    confirm: int = 0
    to_api: bool = False
    job: bool = False
    container: int = 1


@dataclass(frozen=True)
class World:
    """Everything else that a run depends on.

    Attributes:
        rows: of the manifest.
        concurrency: uploads in flight, of each worker, as far as bulkup takes so many for all of them.
        api, store, job: from and to: how long an answer takes, and a job after the last byte.
        per_second, parallel: requests that the vendor's API takes.
        cores: of the ledger's server.
        trip: to the ledger and back; a transaction takes one for each statement.
        followed: jobs open at a time, streams and polls, as a multiple of what bulkup allows itself.
    """

    rows: int = 50_000
    concurrency: int = 64
    api: tuple[float, float] = (0.05, 0.2)
    store: tuple[float, float] = (0.02, 0.08)
    job: tuple[float, float] = (0.5, 1.5)
    per_second: float = inf
    parallel: float = inf
    cores: int = 2
    trip: float = 0.0005
    followed: float = 1.0
    seed: int = 1


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        seconds: all of it.
        sending: from the first worker's start to the last row's end.
        sent: how often each row was.
        requests: that the vendor's API was asked.
        busy: of each resource what part of `sending` it was used.
        idle: the part of `sending` that workers had nothing left to do in.
    """

    workers: int
    rows: int
    seconds: float = 0.0
    sending: float = 0.0
    sent: bytearray = field(default_factory=bytearray, repr=False)
    requests: int = 0
    busy: dict[str, float] = field(default_factory=dict)
    idle: float = 0.0

    @property
    def rate(self) -> float:
        """Files per second, of the whole run."""
        return self.rows / self.seconds

    @property
    def binds(self) -> str:
        """What the time of the workers goes to, most of all."""
        if 1 - self.sending / self.seconds > _MOSTLY:
            return "coordinator"
        if self.idle > _MOSTLY:
            return "straggling shards"
        hard = max(("worker CPU", "ledger CPU", "vendor"), key=self.busy.__getitem__)
        if self.busy[hard] > _BUSY:
            return hard
        return "jobs followed" if self.busy["jobs followed"] > _BUSY else "uploads in flight"


_MOSTLY, _BUSY = 0.5, 0.8
"""From which part of a run, or of a resource, on it is said to bind."""


class Station:
    """Serves what comes in its order, so many at a time."""

    def __init__(self, servers: float = 1) -> None:
        self._free = [0.0] * int(servers) if servers < inf else []
        self.busy = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When what came now, and takes so long, is done."""
        self.busy += seconds
        if not self._free:
            return now + seconds
        done = max(now, self._free[0]) + seconds
        heapreplace(self._free, done)
        return done


class Log:
    """The server's write-ahead log: one flush at a time, which takes all commits along that waited for it."""

    def __init__(self, flush: float) -> None:
        self._flush = flush
        self._begins = self._ends = -inf

    def durable(self, now: float) -> float:
        """When what is committed now is on the disk."""
        if now > self._begins:
            self._begins = max(now, self._ends)
            self._ends = self._begins + self._flush
        return self._ends
