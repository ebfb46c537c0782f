"""Every request of every vendor meets every fault: each ends as the contract says, and as docs/faults.md shows."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from filelock import FileLock

from bulkup.providers import PROVIDERS
from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox
from tests.conftest import Archive, login
from tests.contract import DONE, LOST, SERVER_ERRORS, expected
from tests.matrix import COLUMNS, FAULTS, Column, Result, Seen, cell, why_not
from tests.texts import FAULTS as TEXT
from tests.texts import content

AT_ONCE = 8
Cells = Mapping[tuple[Column, str], Result]


@pytest.fixture(autouse=True)
def _trust_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read this machine's certificates once: that is a third of what a run of one row costs."""
    monkeypatch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_a_fault_that_passes(vendor: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One request meets the fault: its row ends as it must, so does the other, and the next run mends what it may."""
    await _carry_out(vendor, tmp_path, tmp_path_factory, always=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_a_fault_that_stays(vendor: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each such request of a run meets the fault: the row ends as it must, and the next run mends what it may."""
    await _carry_out(vendor, tmp_path, tmp_path_factory, always=True)


async def _carry_out(vendor: str, folder: Path, factory: pytest.TempPathFactory, *, always: bool) -> None:
    columns = [column for column in COLUMNS if column.vendor == vendor]
    cells = await _cells(columns, folder, always=always)
    unexpected = [line for (column, fault), found in cells.items() for line in _judged(column, fault, found, always)]
    name = f"{vendor}, {'always' if always else 'once'}"
    with FileLock(factory.getbasetemp().parent / "faults.lock"):  # xdist's processes write one file
        changed = _write(name, _table(columns, cells))
    assert not unexpected, "\n".join(unexpected)
    assert not changed, f"docs/faults.md was not what was seen of {name}: it is now, look at it and commit it"


async def _cells(columns: list[Column], folder: Path, *, always: bool) -> Cells:
    """All cells of a vendor, some at a time; the slowest first."""
    places, found = asyncio.Semaphore(AT_ONCE), {}

    async def one(number: int, column: Column, fault: str) -> None:
        async with places:
            found[column, fault] = await cell(folder / str(number), column, fault, always=always)

    wanted = [(column, fault) for column in columns for fault in FAULTS if why_not(column, fault) is None]
    wanted.sort(key=lambda each: each[1] != "stall")
    async with asyncio.TaskGroup() as group:
        for number, (column, fault) in enumerate(wanted):
            group.create_task(one(number, column, fault))
    return found


def _judged(column: Column, fault: str, found: Result, always: bool) -> list[str]:  # noqa: FBT001 - a cell's name
    """What is not as it must be."""
    where = f"{column.vendor}, {column.title}, {fault}, {'always' if always else 'once'}"
    wanted = expected(column, fault, always=always)
    wrong = [] if found.seen == wanted else [f"is {found.seen}, must be {wanted}"]
    wrong += found.wrong
    noticed = column.role == "used" or (column.role == "noticed" and fault in LOST | DONE | SERVER_ERRORS)
    if noticed and found.inits != 1:
        wrong.append(f"{found.inits:g} inits for each row")
    return [f"{where}: {each}" for each in wrong]


def _table(columns: list[Column], cells: Cells) -> str:
    """Faults as rows, requests as columns; neighbours that end alike share a row."""

    def ends(fault: str) -> list[str]:
        return [why_not(column, fault) or _words(cells[column, fault].seen) for column in columns]

    lines = [["", *(column.title for column in columns)], ["---"] * (len(columns) + 1)]
    for found, faults in groupby(FAULTS, key=ends):
        lines.append([", ".join(faults), *found])
    table = [f"| {' | '.join(line)} |" for line in lines]
    notes = [f"* {column.title}: {column.note}." for column in columns if column.note]
    return "\n".join([*table, "", *notes, ""] if notes else [*table, ""])


def _words(seen: Seen) -> str:
    """A cell's end in words that `docs/faults.md` explains."""
    ends = [_end(seen.state, seen.held, seen.code), _end(seen.then, seen.then_held)]
    return ends[0] if ends[0] == "ok" else " → ".join(ends)


def _end(state: str, held: int, code: str | None = None) -> str:
    if (state, held) == ("completed", 1):
        return "ok"
    there = f" ({held})" if held else ""
    return ("ok" if state == "completed" else state if code is None else f"{state}: `{code}`") + there


def _write(name: str, table: str) -> bool:
    """Put a table into the text; whether it was another before."""
    before = content(TEXT)
    pattern = rf"(<!-- seen: {re.escape(name)} -->\n).*?(<!-- end -->)"
    after, count = re.subn(pattern, lambda found: f"{found[1]}\n{table}\n{found[2]}", before, flags=re.DOTALL)
    assert count == 1, f"docs/faults.md has no place for {name}"
    if after != before:
        TEXT.write_text(after, "utf-8")
    return after != before


async def test_an_upload_that_waits_for_a_login_is_not_unknown(archive: Archive) -> None:
    """An upload that people would notice twice failed, and is sent by the next run, where just its login got lost."""
    user = LightReachOptions(signed_urls=False)
    stale = Rule(kind="status", step="v1", status=401)
    lost = Rule(kind="reset_after", step="login", after=1)
    archive.add("a.pdf")
    async with Sandbox(options=user, faults=Faults(rules=(stale, lost))) as sandbox:
        assert (await archive.upload(sandbox, environment=login(sandbox, user))).failed == 1
        assert archive.ended()[1].error_code == "no_answer"
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox, environment=login(sandbox, user))).completed == 1
        assert len(sandbox.lightreach.documents) == 1


def test_no_cell_is_empty() -> None:
    """Each request of each vendor has an end for each fault, or a word why there is none."""
    for column in COLUMNS:
        for fault in FAULTS:
            assert why_not(column, fault) or all(expected(column, fault, always=always) for always in (False, True))
    rows = [line for line in content(TEXT).splitlines() if line.startswith("|")]
    assert len(rows) > 2 * len(PROVIDERS)
    assert not [line for line in rows if re.search(r"\| +\|", line.removeprefix("|  |"))]
