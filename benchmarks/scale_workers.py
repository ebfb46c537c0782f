"""A run that many workers share, in virtual time: seeded, without network, clock or database.

Each worker claims shards, has uploads in flight, and writes marks in batches, one transaction at a time, as
`bulkup.worker`, `bulkup.lane` and `bulkup.journal` do. What takes time is a `Station`: first come, first served. A
process of the simulation is a generator: it yields the time at which it goes on, or `PARKED` until somebody wakes it.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf

from benchmarks.scale_model import Cost, Costs, Flow, Log, Outcome, Station, World
from bulkup.terms import Terms

Process = Generator[float, None, None]
PARKED = inf

_SHARDS_EACH, _FEWEST, _MOST = 16, 25, 2000  # as in `bulkup.fleet`
_LOOK_EVERY, _TELL_EVERY, _TELL_SELDOM = 0.25, 1.0, 10  # likewise
_RENEW_EVERY = 1.0  # as in `bulkup.worker`
_MOST_UPLOADS = 1000  # `--concurrency` is for all workers together, and `bulkup.config` takes no more


@dataclass
class Shard:
    """A range of rows.

    Attributes:
        first: of its rows.
        ended: how many of them are at an end.
    """

    first: int
    rows: int
    ended: int = 0


def cut(flow: Flow, rows: int, workers: int, dice: random.Random) -> Iterator[int]:
    """The sizes of the shards that `bulkup.fleet` cuts; containers have 1 to ``2 * container - 1`` rows."""
    size = rows // (workers * _SHARDS_EACH)
    size = min(max(size - size % _FEWEST, _FEWEST), _MOST)
    start = first = end = 0
    for position in range(size, rows, size):
        while end <= position:
            first, end = end, end + dice.randrange(1, 2 * flow.container)
        if first > start:
            yield first - start
            start = first
    yield rows - start


class Simulation:
    """One run.

    Args:
        workers: how many.
    """

    def __init__(self, flow: Flow, world: World, costs: Costs, workers: int) -> None:
        self.flow, self.world, self.costs = flow, world, costs
        self.dice = random.Random(world.seed)
        self.now = 0.0
        self.current: Process
        self.outcome = Outcome(workers, world.rows, sent=bytearray(world.rows))
        self.left = world.rows
        self.ledger, self.log = Station(world.cores), Log(costs.flush)
        self.pace, self.places = Station(), Station(world.parallel)
        self._due: list[tuple[float, int, Process]] = []
        self._tickets = count()
        self.free = deque[Shard]()
        self.taken: list[Shard] = []
        for rows in cut(flow, world.rows, workers, self.dice):
            self.free.append(Shard(self.free[-1].first + self.free[-1].rows if self.free else 0, rows))

    def run(self) -> Outcome:
        """Carry it out."""
        self.start(self._coordinate())
        while self._due:
            self.now, _, self.current = heappop(self._due)
            wake = next(self.current, PARKED)
            if wake < PARKED:
                heappush(self._due, (wake, next(self._tickets), self.current))
        return self.outcome

    def start(self, process: Process) -> None:
        """Have a process begin, or go on, now."""
        heappush(self._due, (self.now, next(self._tickets), process))

    def wake(self, parked: list[Process]) -> None:
        """Have all of these go on."""
        for process in parked:
            self.start(process)
        parked.clear()

    def call(self, requests: int = 1) -> Process:
        """Ask the vendor's API, one request after the other."""
        for _ in range(requests):
            yield self.pace.serve(self.now, 1 / self.world.per_second)
            self.outcome.requests += 1
            yield self.places.serve(self.now, self.dice.uniform(*self.world.api))

    def ask(self, client: Station, cost: Cost, trips: int = 1) -> Process:
        """Ask the ledger."""
        yield client.serve(self.now, cost.client)
        yield self.ledger.serve(self.now, cost.server) + trips * self.world.trip

    def _coordinate(self) -> Process:
        """All that `bulkup.fleet` does."""
        costs, me, workers = self.costs, Station(), self.outcome.workers
        yield self.now + costs.start
        for alone in (costs.admit, costs.cut):
            yield from self.ask(me, alone.times(self.world.rows))
        began = self.now
        before = self.ledger.busy
        uploads = min(self.world.concurrency * workers, _MOST_UPLOADS)
        crew = [Worker(self, terms) for terms in Terms(concurrency=uploads).shared(workers)]
        for worker in crew:
            self.start(worker.live())
        tell_at = self.now
        while self.left > 0:
            yield self.now + _LOOK_EVERY
            yield from self.ask(me, costs.look, trips=5)
            if self.now >= tell_at:
                asked = self.now
                yield from self._tell(me)
                tell_at = self.now + max(_TELL_EVERY, _TELL_SELDOM * (self.now - asked))
        ended = max(worker.ended for worker in crew)
        self._measure(crew, ended - began, self.ledger.busy - before)
        self.outcome.idle = sum(ended - worker.ended for worker in crew) / (ended - began) / workers
        yield from self._tell(me)
        yield from self.ask(me, costs.count.times(self.world.rows))
        self.outcome.seconds = self.now

    def _tell(self, me: Station) -> Process:
        """Read what ended in the shards that were not whole when they were read last."""
        rows, shards = sum(shard.ended for shard in self.taken), len(self.taken)
        self.taken = [shard for shard in self.taken if shard.ended < shard.rows]
        yield from self.ask(me, self.costs.visit.times(shards), trips=4 * shards)
        yield from self.ask(me, self.costs.tell.times(rows))

    def _measure(self, crew: list[Worker], seconds: float, ledger: float) -> None:
        world, tracked = self.world, sum(worker.tracked for worker in crew)
        polls = sum(worker.polls for worker in crew) / sum(worker.polls_per_second for worker in crew)
        limits = self.pace.busy, self.places.busy / world.parallel
        self.outcome.sending = seconds
        self.outcome.busy = {
            "worker CPU": sum(worker.cpu.busy for worker in crew) / seconds / len(crew),
            "ledger CPU": ledger / seconds / world.cores,
            "vendor": max(limits) / seconds,
            "jobs followed": max(sum(worker.followed for worker in crew) / tracked, polls) / seconds,
        }


class Worker:
    """One of the processes.

    Attributes:
        tracked: jobs that it may have open.
        polls_per_second: of its jobs, at most.
        followed: seconds in which jobs were open, added up.
        polls: of jobs that had to wait for it.
        ended: when its last row did.
    """

    def __init__(self, run: Simulation, terms: Terms) -> None:
        self._run = run
        self._concurrency = terms.concurrency
        self.tracked = max(1, int(terms.tracked * run.world.followed))
        self._streams = max(1, int(terms.following.streams * run.world.followed))
        self.polls_per_second = terms.following.polls_per_second * run.world.followed
        self._poll_every = terms.following.poll_every
        self.cpu, self._transfers = Station(), Station(max(terms.transfers, terms.concurrency))
        self.followed = self.ended = 0.0
        self.polls = 0
        self._open = self._streaming = self._polling = 0
        self._batches = deque[tuple[Shard, range]]()
        self._hungry: list[Process] = []
        self._idle: list[Process] = []
        self._crowded: list[Process] = []
        self._waiting: list[Process] = []
        self._marks = Counter[str]()
        self._writing = False

    def live(self) -> Process:
        """Claim shard after shard, and have its rows sent."""
        run, costs = self._run, self._run.costs
        yield run.now + run.costs.start
        yield from self._transact(costs.transaction, trips=3)
        run.start(self._renew())
        for _ in range(self._concurrency):
            run.start(self._slot())
        while run.free:
            shard = run.free.popleft()
            run.taken.append(shard)
            yield from self._transact(costs.claim, trips=8)
            yield from run.ask(self.cpu, costs.feed.times(shard.rows))
            last = shard.first + shard.rows
            for first in range(shard.first, last, run.flow.batch):
                self._batches.append((shard, range(first, min(first + run.flow.batch, last))))
            run.wake(self._idle)
            if len(self._batches) > self._concurrency:
                self._hungry.append(run.current)
                yield PARKED

    def _renew(self) -> Process:
        while self._run.left > 0:
            yield self._run.now + _RENEW_EVERY
            yield from self._transact(self._run.costs.transaction, trips=5)

    def _slot(self) -> Process:
        """One upload after the other."""
        while self._run.left > 0:
            if not self._batches:
                self._idle.append(self._run.current)
                yield PARKED
            elif self._open >= self.tracked:
                self._crowded.append(self._run.current)
                yield PARKED
            else:
                shard, rows = self._batches.popleft()
                if len(self._batches) <= self._concurrency:
                    self._run.wake(self._hungry)
                yield from self._send(shard, rows)

    def _send(self, shard: Shard, rows: range) -> Process:
        """An init with its transfers."""
        run, files = self._run, len(rows)
        self._open += 1
        began = run.now
        yield self.cpu.serve(run.now, run.costs.init)
        yield from self._commit("initiated", files)
        yield from run.call(run.flow.init)
        yield from self._commit("answered", files)
        yield self.cpu.serve(run.now, files * run.costs.file)
        for row in rows:
            run.outcome.sent[row] += 1
        if run.flow.to_api:
            yield from run.call(files)
        else:
            yield max([self._transfers.serve(run.now, run.dice.uniform(*run.world.store)) for _ in rows])
        self._record("stored", files)
        run.start(self._confirm(shard, files, began))

    def _confirm(self, shard: Shard, files: int, began: float) -> Process:
        """What follows the bytes; holds no slot."""
        run = self._run
        yield from self._follow() if run.flow.job else run.call(run.flow.confirm)
        yield from self._commit("ended", files)
        self._open -= 1
        self.followed += run.now - began
        self.ended = run.now
        shard.ended += files
        run.left -= files
        run.wake(self._crowded)

    def _follow(self) -> Process:
        """A stream if one is free, else polls; see `bulkup.track`."""
        run = self._run
        done = run.now + run.dice.uniform(*run.world.job)
        while True:
            if self._streaming < self._streams:
                self._streaming += 1
                yield from run.call()
                yield max(done, run.now)
                self._streaming -= 1
                return
            yield from run.call()
            if run.now >= done:
                return
            self._polling += 1
            yield run.now + max(self._poll_every, self._polling / self.polls_per_second)
            self._polling -= 1
            self.polls += 1

    def _record(self, kind: str, marks: int) -> None:
        """Have marks written soon."""
        self._marks[kind] += marks
        if not self._writing:
            self._writing = True
            self._run.start(self._write())

    def _commit(self, kind: str, marks: int) -> Process:
        """Have marks written, and wait until they are durable."""
        self._record(kind, marks)
        self._waiting.append(self._run.current)
        yield PARKED

    def _write(self) -> Process:
        """What many mark at a time becomes one transaction; see `bulkup.journal`."""
        costs = self._run.costs
        while self._marks:
            marks, self._marks = self._marks, Counter()
            waiting, self._waiting = self._waiting, []
            parts = (costs.transaction, costs.statement.times(len(marks)), costs.mark.times(marks.total()))
            client, server = map(sum, zip(*parts, strict=True))
            yield from self._transact(Cost(client, server), trips=3 + len(marks))
            self._run.wake(waiting)
        self._writing = False

    def _transact(self, cost: Cost, trips: int) -> Process:
        yield from self._run.ask(self.cpu, cost, trips)
        yield self._run.log.durable(self._run.now)
