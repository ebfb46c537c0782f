"""What a second process gives, and what a ledger in PostgreSQL costs: in one run, in turn, ratios of medians.

    python -m benchmarks.cores [--rounds 5] [--files 20000] [--part 0.4]

Both send 16 KiB files to the store and the vendor of `benchmarks.speed`. For the processes each has a part of a core of
its own (`benchmarks.quota`). The CPU of a PostgreSQL server is not the client's, and is given beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import quota
from benchmarks.contenders import Contender, bulkup
from benchmarks.servers import Vendor, nginx, vendor
from benchmarks.speed import Case, Corpus
from tests import postgresql

_SIZE = 16 * 1024
_MEMORY = Path("/dev/shm")


@contextmanager
def _served(files: int) -> Iterator[tuple[Path, Vendor, Case]]:
    """A manifest, who takes its files, and a case without contenders."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        corpus = Corpus(folder / "files", files, _SIZE)
        with nginx(folder / "nginx") as store, vendor(corpus.folder, store.objects, store.plain) as stand_in:
            case = Case("", files, _SIZE, [], corpus.landed(store))
            yield corpus.manifest(shared=True), stand_in, case


def _limited(contender: Contender, part: float) -> Contender:
    command = [sys.executable, "-m", "benchmarks.quota", str(part)]
    return replace(contender, steps=[[*command, *step] for step in contender.steps])


def _in_postgresql(contender: Contender) -> Contender:
    """The same with a new ledger in PostgreSQL before each run."""
    (command,) = contender.steps
    place = command.index("--ledger") + 1
    step = list(command)

    def anew() -> None:
        step[place] = postgresql.ledger()

    return replace(contender, name=f"{contender.name}, PostgreSQL", steps=[step], before=anew)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--part", type=float, default=0.4, help="of a core, for each process")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {given.rounds} rounds in turn, medians")
    with _served(given.files) as (manifest, stand_in, case):
        one = bulkup("one process", manifest, stand_in.environment)
        ledgers = replace(case, name="ledgers", contenders=[_in_postgresql(one), one], runs={})
        ledgers.play(given.rounds)
        print("\n".join(ledgers.lines()), flush=True)
        if lacking := quota.missing():
            print(f"processes: left out: {lacking}")
            return
        two = bulkup("two processes", manifest, stand_in.environment, "--processes", "2")
        both = [_limited(each, given.part) for each in (two, one)]
        for name, contenders in (("processes", both), ("processes, PostgreSQL", list(map(_in_postgresql, both)))):
            processes = replace(case, name=f"{name}, {given.part:g} of a core each", contenders=contenders, runs={})
            processes.play(given.rounds)
            print("\n".join(processes.lines()), flush=True)


if __name__ == "__main__":
    main()
