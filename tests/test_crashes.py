"""The real command, ended at each of its steps: killed, interrupted, without power, with a full disk; then resumed."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
import zstandard

from bulkup.sandbox import Faults, Rule
from tests.crashes import WAYS, Lives, Trial, chosen
from tests.disk import library

KILLED = -9
AT_ONCE = 4
NO_DISK = pytest.mark.skipif(
    library() is None, reason="Python's SQLite is built in, so no file system can be put under it"
)

FEW = {
    "lightreach-batch": ("Initiated:2:after", "request:3:middle", "Stored:2:within", "stream:1:after"),
    "lightreach-v1": ("request:4:middle", "request:4:after"),
    "loanpro-updated": ("Initiated:2:within", "request:4:after", "Answered:2:after", "request:6:after"),
    "alloy": ("admit:1:before", "request:3:after", "request:4:middle", "Ended:2:before"),
    "kompliant-linked": ("admit:1:after", "Answered:2:before", "Stored:2:after", "finish_run:1:before"),
    "auco": ("Initiated:2:after", "request:2:before", "request:2:middle", "request:2:after"),
    "auco-url": ("request:3:after", "Answered:2:after", "request:4:middle", "request:4:after"),
}
"""Some moments of some ways; all of them are for the slow checks."""

MOST = ("lightreach-batch", "loanpro-updated", "alloy", "kompliant-linked", "auco-url")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    """What forks the command."""
    with Lives() as lives:
        yield lives


@pytest.mark.parametrize("way", FEW)
async def test_killed_at_a_step(lives: Lives, tmp_path: Path, way: str) -> None:
    """Killed before, in or after a mark or a request, and run again: each row once, and Auco's in doubt unknown."""
    for number, moment in enumerate(FEW[way]):
        async with Trial(lives, WAYS[way], tmp_path / str(number)) as trial:
            assert await trial.life(moment) == KILLED, (moment, trial.said())
            await trial.resume()


@pytest.mark.slow
@pytest.mark.parametrize("way", MOST)
async def test_killed_at_each_step(tmp_path: Path, way: str) -> None:
    """The same at each mark and each request of the second row, and around the admission and the end."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Lives()) for _ in range(AT_ONCE)]
        async with Trial(workers[0], WAYS[way], tmp_path / "whole") as trial:
            moments = chosen(await trial.moments())
            trial.judge()
        assert len(moments) > 20

        async def work(lives: Lives, share: list[str]) -> None:
            for moment in share:
                async with Trial(lives, WAYS[way], tmp_path / moment) as trial:
                    assert await trial.life(moment) == KILLED, (moment, trial.said())
                    await trial.resume()

        async with anyio.create_task_group() as group:
            for index, lives in enumerate(workers):
                group.start_soon(work, lives, moments[index::AT_ONCE])


@pytest.mark.sqlite
@NO_DISK
@pytest.mark.parametrize("way", ["loanpro", "auco-url"])
@pytest.mark.parametrize("moment", ["sync:6:before", "request:3:before", "request:3:after", "request:4:after"])
async def test_power_cut(lives: Lives, tmp_path: Path, way: str, moment: str) -> None:
    """What was not synced is lost, or half of it; what was sent is known all the same: its mark was synced before."""
    for number, dice in enumerate((None, random.Random(moment))):
        async with Trial(lives, WAYS[way], tmp_path / str(number)) as trial:
            assert await trial.life(moment, disk=True) == KILLED, trial.said()
            lost = trial.cut_power(dice)
            assert lost > 0 or not moment.startswith("sync")
            await trial.resume()


@pytest.mark.sqlite
@NO_DISK
@pytest.mark.slow
@pytest.mark.parametrize("way", MOST)
async def test_power_cut_at_each_sync(lives: Lives, tmp_path: Path, way: str) -> None:
    """The same before each sync that a run makes, the first of a new ledger among them."""
    async with Trial(lives, WAYS[way], tmp_path / "whole") as trial:
        moments = [moment for moment in await trial.moments(disk=True) if moment.startswith("sync:")]
    for moment in moments[::3]:
        for number, dice in enumerate((None, random.Random(moment))):
            async with Trial(lives, WAYS[way], tmp_path / f"{moment}-{number}") as trial:
                assert await trial.life(moment, disk=True) == KILLED, trial.said()
                trial.cut_power(dice)
                await trial.resume()


@pytest.mark.sqlite
@NO_DISK
@pytest.mark.parametrize("way", ["lightreach", "loanpro", "alloy", "kompliant", "auco-url"])
@pytest.mark.parametrize("mark", ["Initiated", "Answered", "Ended"])
async def test_a_disk_that_is_full_at_a_mark(lives: Lives, tmp_path: Path, way: str, mark: str) -> None:
    """The run ends with one line, and the next one, with room again, finds out what became of each row."""
    async with Trial(lives, WAYS[way], tmp_path / "trial") as trial:
        assert await trial.life(f"{mark}:2:before", disk=True, deeds=("full",)) == 1
        assert "can't write the ledger: database or disk is full" in trial.said()
        assert "Traceback" not in trial.said()
        await trial.resume()


@pytest.mark.parametrize("second", ["Reset:1:before", "Reset:1:after", "request:1:before", "request:1:after"])
async def test_killed_again_while_it_asks(lives: Lives, tmp_path: Path, second: str) -> None:
    """The run after a kill is killed too, while it asks what became of the rows, and the next one ends well."""
    async with Trial(lives, WAYS["loanpro"], tmp_path / "trial") as trial:
        assert await trial.life("request:4:before") == KILLED
        assert await trial.life(second) == KILLED, trial.said()
        await trial.resume()


@pytest.mark.parametrize("deeds", [("SIGINT",), ("SIGTERM",), ("SIGINT", "SIGTERM")], ids=" ".join)
@pytest.mark.parametrize("moment", ["Initiated:2:after", "request:3:after", "request:4:middle", "Stored:2:before"])
async def test_interrupted_at_a_step(lives: Lives, tmp_path: Path, moment: str, deeds: tuple[str, ...]) -> None:
    """Asked to end once or twice at a step: exit code 130, the ledger is true, and the next run completes the rest."""
    await interrupted(lives, tmp_path / "trial", "loanpro", moment, deeds)


@pytest.mark.slow
@pytest.mark.parametrize("deeds", [("SIGINT",), ("SIGINT", "SIGTERM")], ids=" ".join)
@pytest.mark.parametrize("way", MOST)
async def test_interrupted_at_each_request(lives: Lives, tmp_path: Path, way: str, deeds: tuple[str, ...]) -> None:
    """The same with each vendor, at every other moment of its requests but the last."""
    async with Trial(lives, WAYS[way], tmp_path / "whole", rows=3) as trial:
        moments = [moment for moment in await trial.moments() if moment.startswith("request:")]
    for moment in moments[:-3:2]:
        await interrupted(lives, tmp_path / moment, way, moment, deeds)


async def interrupted(lives: Lives, folder: Path, way: str, moment: str, deeds: tuple[str, ...]) -> None:
    """Interrupt three rows at a moment, and resume."""
    async with Trial(lives, WAYS[way], folder, rows=3) as trial:
        assert await trial.life(moment, deeds=deeds) in {3, 130}, trial.said()
        assert "Traceback" not in trial.said()
        held = trial.case.held(trial.sandbox).total()
        assert sum(row["state"] == "completed" for row in trial.rows()) <= held
        await trial.resume()


@pytest.mark.parametrize("moment", ["release:1:before", "release:1:after"])
async def test_killed_while_rows_are_released(lives: Lives, tmp_path: Path, moment: str) -> None:
    """A kill in ``bulkup retry`` leaves the row failed or pending; no process is there twice."""
    async with Trial(lives, WAYS["auco-url"], tmp_path / "trial") as trial:
        (trial.archive.folder / "1.pdf").rename(trial.archive.folder / "later.pdf")
        assert await trial.life() == 1
        (key,) = (row["key"] for row in trial.rows() if row["state"] == "failed")
        (trial.archive.folder / "later.pdf").rename(trial.archive.folder / "1.pdf")
        assert await trial.life(moment, "retry", key) == KILLED, trial.said()
        await trial.resume()


@pytest.mark.parametrize("moment", ["release:1:before", "release:1:after"])
async def test_killed_while_a_process_is_given_up(lives: Lives, tmp_path: Path, moment: str) -> None:
    """A process without its PDF is replaced after ``bulkup retry``, killed or not: once, and the first is cancelled."""
    async with Trial(lives, WAYS["auco-url"], tmp_path / "trial") as trial:
        trial.sandbox.faults = Faults(rules=(Rule(kind="expired_url", vendor="auco", times=1),))
        assert await trial.life() == 1
        (key,) = (row["key"] for row in trial.rows() if row["state"] == "failed")
        assert await trial.life(moment, "retry", key) == KILLED, trial.said()
        if moment.endswith("before"):
            assert await trial.life() == 1  # nothing was released: the row stays as it is
            assert await trial.life("", "retry", key) == 0
        assert await trial.life() == 0, trial.said()
        assert trial.case.held(trial.sandbox).total() == 2
        assert trial.sandbox.requests["auco", "init"] == 3
        assert trial.sandbox.requests["auco", "cancel"] == 1


@pytest.mark.parametrize("moment", ["put_away:1:before", "put_away:1:after"])
async def test_killed_while_records_are_archived(lives: Lives, tmp_path: Path, moment: str) -> None:
    """A kill in ``bulkup orphans --archive``: the next one finds the record archived, or archives it."""
    async with Trial(lives, WAYS["loanpro"], tmp_path / "trial") as trial:
        expired = Rule(kind="expired_url", vendor="loanpro", times=1)
        trial.sandbox.faults = Faults(rules=(expired, Rule(kind="status", step="update", status=409)))
        assert await trial.life() == 0
        trial.sandbox.faults = Faults()
        assert trial.case.empty(trial.sandbox) == 1
        assert await trial.life(moment, "orphans", "--archive") == KILLED, trial.said()
        assert await trial.life("", "orphans", "--archive") == 0
        assert "archived" in (trial.archive.folder / "stdout").read_text()
        assert trial.case.empty(trial.sandbox) == 0
        trial.judge()


TORN: dict[str, Callable[[bytes], bytes]] = {
    "middle of a row.csv": lambda whole: whole[: whole.rindex(b",")],
    "middle of a character.csv": lambda whole: whole.rstrip().removesuffix("ó".encode()) + "ó".encode()[:1],
    "no end.csv.gz": lambda whole: gzip.compress(whole)[:-9],
    "no end.csv.zst": lambda whole: zstandard.compress(whole)[:-3],
}


@pytest.mark.parametrize("name", TORN)
async def test_a_torn_manifest(lives: Lives, tmp_path: Path, name: str) -> None:
    """At first and after a kill: a line that says what is wrong, exit code 2, nothing sent, the ledger untouched."""
    async with Trial(lives, WAYS["loanpro"], tmp_path / "trial") as trial:
        whole = (trial.archive.folder / "manifest.csv").read_bytes().rstrip() + "ó".encode()
        torn = trial.archive.folder / name
        torn.write_bytes(TORN[name](whole))
        for killed in (False, True):
            if killed:
                assert await trial.life("request:3:after") == KILLED
            before, requests = trial.rows(), Counter(trial.sandbox.requests)
            assert await trial.life("", "run", name) == 2
            complaint, refusal = trial.said().splitlines()
            assert complaint.startswith(f"{name}: ")
            assert "nothing was sent" in refusal
            assert trial.rows() == before
            assert trial.sandbox.requests == requests
        await trial.resume()
