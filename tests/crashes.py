"""Rows of one vendor, sent by lives of the real command that end at named moments, and then held against its truth."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bulkup.errors import LedgerError
from bulkup.sandbox import Faults, LightReachOptions, Sandbox
from tests.conftest import Archive, sha256
from tests.crash_at import Life
from tests.disk import cut_power
from tests.process import clean_environment
from tests.vendors import CASES, Case

_ONE = {"account_id": "A-0", "type": "utilityBill"}
_STEPS = ("init", "put", "stream")
BATCH = Case("lightreach-batch", "lightreach", lambda _: _ONE, _STEPS, options=LightReachOptions())
GROUP = Case("lightreach-group", "lightreach", lambda _: _ONE | {"group": "scan"}, _STEPS, options=LightReachOptions())
WAYS = {case.id: case for case in (*CASES, BATCH, GROUP)}
"""Every way through every vendor, with LightReach's batches of several files."""

_SETTINGS = {"BULKUP_SETTLE": "0.3", "BULKUP_RETRY_FOR": "5", "BULKUP_JOB_TIMEOUT": "10", "BULKUP_DRAIN": "10"}
_KILLED = -9
_UNKNOWN = 3


class Lives:
    """A process that forks lives of the command, one after the other; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash_at"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    async def live(self, life: Life) -> int:
        """One life; its exit code, or minus the signal that ended it."""
        return await asyncio.to_thread(self._live, life)

    def _live(self, life: Life) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(life.line())
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Trial:
    """Some rows in a folder, and a stand-in for their vendor.

    Args:
        lives: forks the command.
        case: how the rows look.
        folder: empty; it is made.
        rows: how many.
    """

    def __init__(self, lives: Lives, case: Case, folder: Path, rows: int = 2) -> None:
        folder.mkdir()
        self.case = case
        self.archive = Archive(folder)
        self.sandbox = Sandbox(options=case.options or ())
        self._lives = lives
        self._expected: list[Hashable] = []
        for number in range(rows):
            row = case.row(number)
            path = self.archive.add(f"{number}.pdf", f"%PDF-1.7 {case.id} {number}".encode() * 50, **row)
            self._expected.append(case.expected(row, path.name, sha256(path)))
        self._manifest = self.archive.manifest()
        self._synced = folder / "synced"

    async def __aenter__(self) -> Self:
        await self.sandbox.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sandbox.__aexit__()

    async def life(self, moment: str = "", *arguments: str, disk: bool = False, **options: Any) -> int:
        """One life of ``bulkup run``, or of another command; it ends at the moment."""
        ledger = {"BULKUP_LEDGER": str(self.archive.ledger)}
        environment = clean_environment({**self.sandbox.environment(), **self.case.settings, **_SETTINGS, **ledger})
        if disk:
            self._synced.mkdir(exist_ok=True)
        life = Life(
            arguments or ("run", str(self._manifest), "-c", "1", "--no-adaptive"),
            environment,
            str(self.archive.folder),
            moment,
            synced=str(self._synced) if disk else "",
        )
        return await self._lives.live(replace(life, **options))

    async def moments(self, *arguments: str, disk: bool = False) -> list[str]:
        """The moments that a life passes which nothing ends."""
        census = self.archive.folder / "census"
        await self.life("", *arguments, disk=disk, census=str(census))
        return census.read_text().split()

    def cut_power(self, dice: random.Random | None) -> int:
        """See `tests.disk.cut_power`."""
        return cut_power(self.archive.file, self._synced, dice)

    def said(self) -> str:
        """What the last life wrote to standard error."""
        return (self.archive.folder / "stderr").read_text()

    def rows(self) -> list[Mapping[str, Any]]:
        """The ledger's rows as they stand; none if it has no tables yet."""
        try:
            return self.archive.ledger_rows()
        except LedgerError:
            return []

    async def resume(self) -> None:
        """The same command again until every row has its end; then hold the ledger against the vendor."""
        in_doubt = {
            row["row"]
            for row in self.rows()
            if self.case.provider == "auco" and row["state"] == "initiated" and not row["document_id"]
        }
        self.sandbox.faults = Faults()
        for _ in range(3):
            code = await self.life()
            assert code in {0, 1, _UNKNOWN}, self.said()
            if code == 0 or (code == _UNKNOWN and self.case.provider == "auco"):
                break
        self.judge(in_doubt)

    def judge(self, in_doubt: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        """Nothing is lost, nothing there twice; what is in doubt is unknown.

        Args:
            in_doubt: numbers of rows whose init was sent, perhaps, and whose answer nobody has.
        """
        held = Counter(self.case.held(self.sandbox))
        rows = self.rows()
        assert [row["row"] for row in rows] == list(range(1, len(self._expected) + 1))
        for row, expected in zip(rows, self._expected, strict=True):
            what = {name: row[name] for name in ("row", "state", "stage", "error_code", "error")}
            if row["state"] == "completed":
                assert held[expected] == 1, what
                assert row["row"] not in in_doubt
            else:
                assert self.case.provider == "auco", what
                assert row["state"] == "unknown" or row["row"] not in in_doubt, what
                assert row["state"] in {"unknown", "failed"}, what
        assert held <= Counter(self._expected)
        if self.case.provider == "auco":
            assert self.sandbox.requests["auco", self.case.init] <= len(rows)
        elif self.case.provider != "kompliant":  # which has no way to put a record away
            assert self.case.empty(self.sandbox) == 0
        assert not self.sandbox.breaches
        assert not self.sandbox.leaks


def chosen(moments: Sequence[str]) -> list[str]:
    """Each kind of moment once, as late as it comes: with the rows before it completed or under way."""
    last: dict[tuple[str, str], str] = {}
    for moment in moments:
        point, _, when = moment.split(":")
        last[point, when] = moment
    requests = [moment for moment in moments if moment.startswith("request:")]
    later = {moment for moment in requests if int(moment.split(":")[1]) > len(requests) // 6}
    return [moment for moment in dict.fromkeys(moments) if moment in later or moment in last.values()]
