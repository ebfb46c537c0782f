"""Kill the real command again and again, and count on the vendors' side: ``python -m tests.kills --kills 300``.

A manifest of all five vendors is sent by ``bulkup run`` in a process of its own, which is ended with SIGKILL after a
random number of requests and a random moment more, and started again, until so many kills were made and every row has
its end. Faults go on meanwhile: lost answers, resets, 429 and 503. Then the stand-ins are asked what they hold.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bulkup.sandbox import Faults, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.process import BULKUP, clean_environment
from tests.vendors import CASES, HELD, Held

WAYS = ("lightreach", "loanpro-updated", "alloy", "kompliant-linked", "auco", "auco-url")
HALFWAY = ("pending", "initiated", "stored")
WEATHER = Faults(
    seed=1,
    rules=(
        Rule(kind="latency", step="*", seconds=0.02, rate=0.5),
        Rule(kind="reset_after", step="*", rate=0.02),
        Rule(kind="reset_mid", step="*", rate=0.01),
        Rule(kind="status", step="*", status=429, retry_after=0, rate=0.01),
        Rule(kind="status", step="*", status=503, retry_after=0, rate=0.01),
    ),
)
"""What goes wrong beside the kills."""


@dataclass
class Tally:
    """What the kills did.

    Attributes:
        kills: processes that were killed while they worked.
        hit: kills that found rows in a state, by the state.
        rows: rows found in a state, over all kills.
        ends: rows by provider and final state.
        lost: rows that the ledger calls completed and the vendor does not have, or that have no end.
        twice: documents that a vendor has more often than rows ask for.
        torn: kills after which half a page was left at the end of the write-ahead log.
    """

    kills: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: int = 0
    twice: int = 0
    torn: int = 0

    def lines(self) -> list[str]:
        """For people."""
        states = ", ".join(f"{self.hit[state]} hit rows {state} ({self.rows[state]} rows)" for state in HALFWAY)
        ends = ", ".join(f"{provider} {count} {state}" for (provider, state), count in sorted(self.ends.items()))
        return [
            f"{self.kills} kills: {states}; {self.torn} left a torn write-ahead log",
            f"rows in the end: {ends}",
            f"rows lost: {self.lost}; documents twice: {self.twice}",
        ]


def fill(archive: Archive, rows: int, dice: random.Random) -> dict[str, Held]:
    """Rows of all vendors in any order; what each vendor must hold."""
    cases = [case for case in CASES if case.id in WAYS]
    expected: dict[str, Held] = {case.provider: Counter() for case in cases}
    for number in range(rows):
        case = cases[dice.randrange(len(cases))]
        row = case.row(number)
        content = b"%PDF-1.7 " + dice.randbytes(dice.choice([10, 1000, 150_000]))
        path = archive.add(f"{number}.pdf", content, **row)
        expected[case.provider][case.expected(row, path.name, sha256(path))] += 1
    return expected


class Harness:
    """One archive, killed until it is done.

    Args:
        folder: for the documents and the ledger.
        dice: every chance there is.
        tally: where it is counted.
    """

    def __init__(self, folder: Path, dice: random.Random, tally: Tally) -> None:
        self._archive = Archive(folder)
        self._dice = dice
        self._tally = tally

    async def run(self, rows: int, kills: int) -> None:
        """Send so many rows; kill until there were so many kills in all, or all rows have their end."""
        expected = fill(self._archive, rows, self._dice)
        manifest = self._archive.manifest()
        async with Sandbox(faults=WEATHER) as sandbox:
            environment = clean_environment(sandbox.environment() | {"BULKUP_SETTLE": "1", "BULKUP_RETRY_FOR": "5"})
            while self._tally.kills < kills and await self._live_and_die(sandbox, manifest, environment):
                pass
            sandbox.faults = Faults()
            for _ in range(3):
                process = await self._start(manifest, environment)
                if await process.wait() in (0, 3):
                    break
            self._judge(sandbox, expected)

    async def _start(self, manifest: Path, environment: dict[str, str]) -> asyncio.subprocess.Process:
        nothing = asyncio.subprocess.DEVNULL
        arguments = [*BULKUP, "run", str(manifest), "-c", "3"]
        return await asyncio.create_subprocess_exec(
            *arguments, env=environment, cwd=manifest.parent, stdin=nothing, stdout=nothing, stderr=nothing
        )

    async def _live_and_die(self, sandbox: Sandbox, manifest: Path, environment: dict[str, str]) -> bool:
        """One life of the command; False if it came to its end by itself."""
        process = await self._start(manifest, environment)
        ended = asyncio.ensure_future(process.wait())
        seen = sandbox.requests.total() + self._dice.randrange(1, 40)
        while not ended.done() and sandbox.requests.total() < seen:  # noqa: ASYNC110 - a count has no event
            await asyncio.sleep(0.001)
        await asyncio.sleep(self._dice.random() * 0.01)  # also between two requests
        if ended.done():
            return False
        process.kill()
        await ended
        self._tally.kills += 1
        if self._archive.file.exists():
            found = self._states()
            self._tally.rows.update(found)
            self._tally.hit.update(state for state in HALFWAY if found[state])
            self._tear()
        return True

    def _states(self) -> Counter[str]:
        """What the dead process left, read from a copy: to open the ledger itself would mend it."""
        copy = Archive(self._archive.folder / "copy")
        copy.folder.mkdir(exist_ok=True)
        for file in copy.folder.iterdir():
            file.unlink()
        for file in self._archive.folder.glob("bulkup.db*"):
            shutil.copy(file, copy.folder)
        return Counter(str(row["state"]) for row in copy.ledger_rows())

    def _tear(self) -> None:
        """Now and then, what a power cut leaves behind the last synced transaction: half a page."""
        log = self._archive.file.with_name(self._archive.file.name + "-wal")
        if self._dice.random() < 0.3 and log.exists():
            with log.open("ab") as file:
                file.write(self._dice.randbytes(2100))
            self._tally.torn += 1

    def _judge(self, sandbox: Sandbox, expected: dict[str, Held]) -> None:
        """Hold the ledger against the vendors' truth."""
        ends = Counter((str(row["provider"]), str(row["state"])) for row in self._archive.ledger_rows())
        self._tally.ends.update(ends)
        for provider, documents in expected.items():
            held = HELD[provider](sandbox)
            self._tally.twice += (held - documents).total()
            undecided = ends[provider, "unknown"] if provider == "auco" else 0
            self._tally.lost += max(0, (documents - held).total() - undecided)
            self._tally.lost += documents.total() - ends[provider, "completed"] - undecided
        if sandbox.breaches or sandbox.leaks:
            raise AssertionError(sandbox.breaches)


async def kill(kills: int, rows: int, seed: int, folder: Path) -> Tally:
    """Kill so often, over as many archives as it takes."""
    tally, dice = Tally(), random.Random(seed)
    while tally.kills < kills:
        with tempfile.TemporaryDirectory(dir=folder) as archive:
            await Harness(Path(archive), dice, tally).run(rows, kills)
        sys.stderr.write(f"{tally.kills} of {kills} kills\n")
    return tally


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    tally = asyncio.run(kill(given.kills, given.rows, given.seed, Path(tempfile.gettempdir())))
    seconds = time.monotonic() - began
    seed = f"seed {given.seed}, manifests of {given.rows} rows over five vendors, {seconds:.0f} s"
    sys.stdout.write("\n".join([seed, *tally.lines(), ""]))
    sys.exit(1 if tally.lost or tally.twice else 0)


if __name__ == "__main__":
    main()
