"""Slow checks: thousands of real files, many kills, many rows. Run by ``make test-slow``."""

from __future__ import annotations

import csv
import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pytest

from tests.conftest import Archive
from tests.kills import kill
from tests.process import BULKUP, Server, bulkup, clean_environment, serving, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("BULKUP_TEST_KILLS", "12"))
SENDABLE = {".pdf", ".jpg", ".jpeg", ".png", ".gif", ".txt", ".tif", ".csv"}


def real_files(count: int) -> list[Path]:
    """Documents that this machine happens to have."""
    found = (
        Path(folder) / name
        for folder, _, names in os.walk("/usr/share")
        for name in names
        if Path(name).suffix in SENDABLE
    )
    return list(islice((path for path in found if path.is_file() and path.stat().st_size), count))


def test_two_thousand_real_files(archive: Archive) -> None:
    """Real files go through in one command, and what the vendor stored equals them byte for byte."""
    files = real_files(2000)
    if len(files) < 500:
        pytest.skip(f"only {len(files)} documents below /usr/share")
    for number, path in enumerate(files):
        archive.row(str(path), account_id=f"A-{number % 3}", provider="lightreach")
    with serving("--data", str(archive.folder / "stored")) as server:
        done = bulkup("run", archive.manifest(), environment=server.environment, cwd=archive.folder)
        assert done.returncode == 0, done.stderr
        stored = Counter(file["sha256"] for document in server.documents() for file in document["files"])
        assert not server.state()["breaches"]
        assert server.state()["leaks"] == 0
    assert stored == Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def requests(server: Server) -> int:
    """How many requests the stand-in saw."""
    return sum(sum(steps.values()) for steps in server.state()["requests"].values())


def test_killed_at_random_moments(archive: Archive) -> None:
    """Killed again and again, after a random number of requests, and resumed: every document is there once."""
    dice = random.Random(20261122)
    for number in range(300):
        size = dice.choice([10, 1000, 200_000])
        columns = {"account_id": f"A-{number % 4}", "provider": "lightreach"}
        if number % 3 == 0:
            columns["external_reference"] = f"ref-{number % 20}"
        if number % 50 < 4:
            columns |= {"account_id": "A-9", "group": f"scan {number // 50}"}
        archive.add(f"{number}.pdf", dice.randbytes(size), **columns)
    manifest = archive.manifest()
    with serving() as server:
        server.faults(
            {"kind": "latency", "step": "*", "seconds": 0.05, "rate": 0.5},
            {"kind": "reset_after", "step": "*", "rate": 0.02},
        )
        environment = {**server.environment, "BULKUP_SETTLE": "2"}
        states: Counter[str] = Counter()
        for _ in range(KILLS):
            run = start("run", manifest, "-c", "3", environment=environment, cwd=archive.folder)
            seen = requests(server) + dice.randrange(1, 60)
            while run.poll() is None and requests(server) < seen:
                pass
            run.kill()
            run.communicate()
            if archive.file.exists():
                states.update(row["state"] for row in archive.ledger_rows() if row["state"] != "completed")
        ends = (bulkup("run", manifest, environment=environment, cwd=archive.folder).returncode for _ in range(5))
        assert 0 in ends
        held = Counter(file["name"] for document in server.documents() for file in document["files"])
    assert held == Counter(f"{number}.pdf" for number in range(300))
    assert states["initiated"] + states["stored"], "no kill hit a row half-way"


async def test_all_vendors_killed_at_random_moments(tmp_path: Path) -> None:
    """The same over all five vendors: what may be repeated is there once; an Auco row in doubt is unknown."""
    tally = await kill(KILLS, 120, 20261125, tmp_path)
    assert (tally.lost, tally.twice) == (0, 0), tally.lines()
    assert tally.hit["initiated"], "no kill hit a row half-way"


def peak_memory(arguments: list[str | Path], environment: Mapping[str, str], cwd: Path) -> float:
    """The largest resident size of a run, in MB."""
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *BULKUP, *map(str, arguments)],
        env=clean_environment(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def write_rows(path: Path, count: int) -> Path:
    """A manifest of many rows over one small file."""

    def rows() -> Iterator[list[str]]:
        yield ["key", "path", "provider", "account_id", "type"]
        for number in range(count):
            yield [f"key-{number}", "one.pdf", "lightreach", f"A-{number % 100}", "utilityBill"]

    (path.parent / "one.pdf").write_bytes(b"%PDF-1.4")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows())
    return path


def test_memory_does_not_grow_with_rows(archive: Archive) -> None:
    """Validating and planning 200,000 rows, and sending 20,000, needs no more than 60 MB above 2,000."""
    few = write_rows(archive.folder / "few.csv", 2_000)
    some = write_rows(archive.folder / "some.csv", 20_000)
    many = write_rows(archive.folder / "many.csv", 200_000)
    least = peak_memory(["run", few, "--dry-run"], {}, archive.folder)
    assert peak_memory(["run", many, "--dry-run"], {}, archive.folder) - least < 60
    with serving() as server:
        least = peak_memory(["run", few, "-l", "few.db"], server.environment, archive.folder)
        assert peak_memory(["run", some, "-l", "some.db"], server.environment, archive.folder) - least < 60
