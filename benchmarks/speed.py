"""How fast bulkup is, beside what a user would pick instead: in one run, in turn, ratios of medians.

    python -m benchmarks.speed [--rounds 5] [--only NAME ...] [--scale 1.0] [--output FOLDER]

Each case sends one corpus by several contenders. After each run what landed is compared with what was sent. The table
is printed; `--output` also keeps it as JSON and as a chart. What this machine lacks is said, and left out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import Contender, Measure, bulkup, client, curl, rclone, s5cmd, script
from benchmarks.servers import Store, nginx, seaweed, vendor

_KIB, _MIB = 1024, 1024 * 1024
_MEMORY = Path("/dev/shm")
_SECRET = "benchmark-secret"


@dataclass
class Case:
    """What is compared: the first contender with each of the others.

    Attributes:
        files, size: the corpus; bytes.
        check: says what of it landed wrongly, after each run.
    """

    name: str
    files: int
    size: int
    contenders: Sequence[Contender]
    check: Callable[[], str | None] = lambda: None
    runs: dict[str, list[Measure]] = field(default_factory=dict)

    def play(self, rounds: int) -> None:
        """Run all in turn, so often."""
        able = []
        for contender in self.contenders:
            if lacking := contender.missing():
                print(f"  {contender.name}: left out, {lacking} is not on this machine", flush=True)
            else:
                able.append(contender)
        for number in range(rounds):
            for contender in able if number % 2 == 0 else reversed(able):
                self.runs.setdefault(contender.name, []).append(contender.run())
                if wrong := self.check():
                    raise RuntimeError(f"{self.name}: {contender.name}: {wrong}")

    def lines(self) -> Iterator[str]:
        """The table."""
        yield f"{self.name}: {self.files} files of {_sized(self.size)}"
        yield f"  {'':26}{'files/s':>10}{'MB/s':>9}{'CPU us/file':>13}{'peak MB':>9}"
        for name, runs in self.runs.items():
            wall, cpu = [run.wall for run in runs], [run.cpu for run in runs]
            rate = self.files / statistics.median(wall)
            megabytes = rate * self.size / 1e6
            spread = f"  +- {50 * (max(wall) - min(wall)) / statistics.median(wall):.0f} %"
            each = 1e6 * statistics.median(cpu) / self.files
            yield f"  {name:26}{rate:>10.0f}{megabytes:>9.1f}{each:>13.0f}{max(run.peak for run in runs):>9.0f}{spread}"
        ours, *others = self.runs
        for name in others:
            speed, cost = self.ratio("wall", name), self.ratio("cpu", name)
            yield f"  {ours} / {name}: {speed:.2f} x its files/s, {cost:.2f} x its CPU"

    def ratio(self, what: str, other: str) -> float:
        """Of medians: speed of the first to another's, or its CPU to another's."""
        medians = [
            statistics.median(getattr(run, what) for run in self.runs[name]) for name in (next(iter(self.runs)), other)
        ]
        ours, theirs = map(float, medians)
        return theirs / ours if what == "wall" else ours / theirs

    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "files": self.files,
            "size": self.size,
            "runs": {name: [vars(run) for run in runs] for name, runs in self.runs.items()},
        }


def _sized(size: int) -> str:
    return f"{size // _MIB} MiB" if size >= _MIB else f"{size // _KIB} KiB"


class Corpus:
    """Files of random bytes in memory, and what is known of them."""

    def __init__(self, folder: Path, files: int, size: int) -> None:
        self.folder = folder
        self.size = size
        folder.mkdir(parents=True)
        self.paths = [folder / f"{number:06}.pdf" for number in range(files)]
        for path in self.paths:
            path.write_bytes(os.urandom(size))
        self._hashes = Counter(map(_md5, self.paths))

    def manifest(self, *, shared: bool) -> Path:
        """A manifest of all; ``shared``: 25 files may share an init, else each has a reference of its own."""
        path = self.folder.with_name(f"{self.folder.name}-{'shared' if shared else 'single'}") / "manifest.csv"
        path.parent.mkdir()
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "account_id", "type", "external_reference"])
            writer.writerows([str(each), "bench", "utilityBill", "" if shared else each.stem] for each in self.paths)
        return path

    def landed(self, store: Store) -> Callable[[], str | None]:
        """A check that a store holds just these bytes; it is emptied."""

        def check() -> str | None:
            found = Counter(_md5(path) for path in store.objects.rglob("*.pdf"))
            store.clear()
            return None if found == self._hashes else f"{(self._hashes - found).total()} of the files did not land"

        return check


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@contextmanager
def _cases(scale: float, only: Sequence[str]) -> Iterator[Iterator[Case]]:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        store = stack.enter_context(nginx(folder / "nginx"))
        yield _generate(folder, store, scale, lambda name: not only or any(each in name for each in only))


def _generate(folder: Path, store: Store, scale: float, wanted: Callable[[str], bool]) -> Iterator[Case]:
    small = Corpus(folder / "small", max(50, int(20_000 * scale)), 16 * _KIB)
    few = Corpus(folder / "few", max(50, int(4_000 * scale)), 16 * _KIB)
    yield from filter(lambda case: wanted(case.name), _client_alone(small, store, folder))
    yield from _whole(small, store, folder, wanted)
    yield from _one_by_one(few, store, wanted)
    for name, files, size in (("1 MiB", int(1_000 * scale), _MIB), ("256 MiB", max(2, int(8 * scale)), 256 * _MIB)):
        if wanted(name):
            large = Corpus(folder / name.replace(" ", ""), files, size)
            with vendor(large.folder, store.objects, store.plain) as stand_in:
                ours = bulkup("bulkup run", large.manifest(shared=True), stand_in.environment)
                theirs = curl("curl and md5sum", large.paths, store.plain, folder, md5=True)
                yield Case(name, files, size, [ours, theirs], large.landed(store))
    if wanted("S3"):
        yield from _s3(folder, scale)


def _client_alone(corpus: Corpus, store: Store, folder: Path) -> Iterator[Case]:
    """Only the PUTs."""
    for name, url, authority in (("client, plain", store.plain, None), ("client, TLS", store.tls, store.authority)):
        ours = client(corpus.folder, folder / "nothing", url, *([] if authority is None else [str(authority)]))
        theirs = curl("curl", corpus.paths, url, folder, md5=False, authority=authority)
        yield Case(name, len(corpus.paths), corpus.size, [ours, theirs], corpus.landed(store))


def _whole(corpus: Corpus, store: Store, folder: Path, wanted: Callable[[str], bool]) -> Iterator[Case]:
    """Inits of 25 files, PUTs, streams, ledger; then with 50 ms on each answer."""
    manifest, count = corpus.manifest(shared=True), len(corpus.paths)
    with vendor(corpus.folder, store.objects, store.plain) as stand_in:
        if wanted("whole run"):
            ours = bulkup("bulkup run", manifest, stand_in.environment)
            theirs = curl("curl and md5sum", corpus.paths, store.plain, folder, md5=True)
            yield Case("whole run", count, corpus.size, [ours, theirs], corpus.landed(store))
        if wanted("no-verify"):
            ours = bulkup("bulkup run --no-verify", manifest, stand_in.environment, "--no-verify")
            theirs = curl("curl", corpus.paths, store.plain, folder, md5=False)
            yield Case("no-verify", count, corpus.size, [ours, theirs], corpus.landed(store))
    if wanted("latency"):
        with vendor(corpus.folder, store.objects, latency=0.05) as stand_in:
            ours = bulkup("bulkup run", manifest, stand_in.environment)
            theirs = curl("curl", corpus.paths, f"{stand_in.url}/store/curl", folder, md5=False)
            yield Case("latency of 50 ms", count, corpus.size, [ours, theirs], corpus.landed(store))


def _one_by_one(corpus: Corpus, store: Store, wanted: Callable[[str], bool]) -> Iterator[Case]:
    """Three requests a file, against scripts; jobs that take no time, and such that make pollers wait."""
    count, single = len(corpus.paths), corpus.manifest(shared=False)
    if wanted("one file an init"):
        with vendor(corpus.folder, store.objects, store.plain) as stand_in:
            ours = bulkup("bulkup run", single, stand_in.environment)
            scripts = [script(who, corpus.folder, stand_in.environment) for who in ("aiohttp", "requests", "httpx")]
            yield Case("one file an init", count, corpus.size, [ours, *scripts], corpus.landed(store))
    if wanted("jobs of 50 ms"):
        with vendor(corpus.folder, store.objects, store.plain, job=0.05) as stand_in:
            ours = bulkup("bulkup run", single, stand_in.environment)
            theirs = script("aiohttp", corpus.folder, stand_in.environment)
            yield Case("one file an init, jobs of 50 ms", count, corpus.size, [ours, theirs], corpus.landed(store))


def _s3(folder: Path, scale: float) -> Iterator[Case]:
    """Presigned URLs of SeaweedFS, against tools that sign for themselves."""
    corpus = Corpus(folder / "s3", max(50, int(5_000 * scale)), 16 * _KIB)
    keys = {"AWS_ACCESS_KEY_ID": "EXAMPLEKEYID", "AWS_SECRET_ACCESS_KEY": _SECRET, "AWS_REGION": "us-east-1"}
    try:
        with seaweed(_SECRET, folder / "seaweed") as url:
            endpoint, _, bucket = url.rpartition("/")
            tools = [tool(corpus.folder, endpoint, bucket, keys) for tool in (s5cmd, rclone)]
            with vendor(corpus.folder, folder, url, secret=_SECRET) as stand_in:
                ours = bulkup("bulkup run", corpus.manifest(shared=True), stand_in.environment)
                yield Case("S3", len(corpus.paths), corpus.size, [ours, *tools])
    except FileNotFoundError as error:
        print(f"  S3: left out: {error}", flush=True)


def _draw(cases: Sequence[Case], path: Path) -> None:
    """A chart of all ratios; left out where matplotlib is missing."""
    try:
        import matplotlib as mpl
        from matplotlib import pyplot as plt
    except ImportError:
        print("no chart: matplotlib is not on this machine")
        return
    mpl.use("Agg")
    bars = [
        (f"{case.name}\nagainst {other}", case.ratio("wall", other), case.ratio("cpu", other))
        for case in cases
        for other in list(case.runs)[1:]
    ]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.7 * len(bars)), layout="constrained")
    places = range(len(bars))
    axes.barh([place - 0.2 for place in places], [bar[1] for bar in bars], 0.4, label="files/s, more is better")
    axes.barh([place + 0.2 for place in places], [bar[2] for bar in bars], 0.4, label="CPU, less is better")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(list(places), [bar[0] for bar in bars])
    axes.set_xscale("log")
    axes.set_xlabel("bulkup / the other, ratio of medians")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="cases with this in their name")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the files")
    parser.add_argument("--output", type=Path, help="a folder for speed.json and speed.png")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {given.rounds} rounds in turn, medians")
    played: list[Case] = []
    try:
        with _cases(given.scale, given.only) as cases:
            for case in cases:
                case.play(given.rounds)
                print("\n".join(case.lines()), flush=True)
                played.append(case)
    except FileNotFoundError as error:
        sys.exit(f"{error}: not on this machine (Debian: apt-get install nginx-light)")
    if given.output:
        given.output.mkdir(exist_ok=True)
        (given.output / "speed.json").write_text(json.dumps([case.facts() for case in played], indent=1))
        _draw(played, given.output / "speed.png")


if __name__ == "__main__":
    main()
