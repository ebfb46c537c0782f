"""``bulkup ledger merge``: what several ledgers tell becomes one ledger's, all of it or nothing."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, func, insert, null, select, update

import bulkup
from bulkup.ledger.merge import Merged, merge
from bulkup.ledger.schema import documents, former_documents, meta, metadata, runs
from bulkup.ledgers import open_ledger
from bulkup.location import located
from bulkup.sandbox import Faults, Rule, Sandbox
from tests import postgresql
from tests.conftest import Archive
from tests.process import bulkup as command
from tests.test_mixed import MIXED, fill

Place = Path | str


def held(place: Place) -> dict[str, list[dict[str, Any]]]:
    """All that a ledger holds, by table, in a form that does not tell the numbers of its rows."""
    with open_ledger(place, exclusive=False) as ledger:
        found = {
            table.name: [dict(row) for row in ledger._connection.execute(table.select()).mappings()]
            for table in (documents, former_documents, runs, meta)
        }
    keys = {row["id"]: row["key"] for row in found["documents"]}
    for former in found["former_documents"]:
        former["document"] = keys[former["document"]]
    without = [{name: value for name, value in row.items() if name != "id"} for row in found["former_documents"]]
    found["former_documents"] = sorted(without, key=repr)
    found["documents"] = sorted(
        ({name: value for name, value in row.items() if name != "id"} for row in found["documents"]), key=repr
    )
    found["runs"] = sorted(found["runs"], key=repr)
    return found


def together(*places: Place) -> dict[str, list[dict[str, Any]]]:
    """What ledgers hold together, beside what is of each alone."""
    each = [held(place) for place in places]
    return {
        table.name: sorted((row for found in each for row in found[table.name]), key=repr)
        for table in (documents, former_documents, runs)
    }


def new(kind: str, folder: Path, name: str) -> Place:
    """Where a ledger may be made."""
    return postgresql.ledger() if kind == "postgresql" else folder / f"{name}.db"


def merged(sources: Sequence[Place], target: Place) -> Merged:
    """Merge ledgers."""
    return merge([located(each) for each in sources], located(target))


async def history(archive: Archive, sandbox: Sandbox, sources: Sequence[Place]) -> None:
    """Have machines send a manifest, with all that a ledger can tell: ends of each kind, changed files, orphans."""
    count = len(sources)
    archive.row("missing.pdf", account_id="A-77", provider="lightreach")
    archive.row("bad.pdf", account_id="A-78", type="", provider="lightreach")
    changed = archive.add("changed.pdf", b"%PDF-1 one", **MIXED[1].row(1))
    for number, ledger in enumerate(sources):
        archive.ledger = ledger
        shard = f"{number + 1}/{count}"
        sandbox.faults = Faults(
            rules=(
                Rule(kind="status", vendor="auco", step="init", status=500, times=1),
                Rule(kind="reset_after", vendor="kompliant", step="init", times=1),
                Rule(kind="expired_url", vendor="loanpro", times=2),
            )
        )
        await archive.upload(sandbox, shard=shard, skip_invalid=True)
        sandbox.faults = Faults()
        await archive.upload(sandbox, shard=shard, skip_invalid=True)
    changed.write_bytes(b"%PDF-1 another")
    for number, ledger in enumerate(sources):
        archive.ledger = ledger
        await archive.upload(sandbox, shard=f"{number + 1}/{count}", skip_invalid=True)


@pytest.mark.parametrize(
    ("kinds", "target"),
    [
        (("sqlite", "sqlite", "sqlite"), "sqlite"),
        (("postgresql", "sqlite"), "postgresql"),
        (("postgresql", "postgresql"), "sqlite"),
    ],
    ids=["files", "into a server", "from a server"],
)
async def test_what_machines_sent_is_one_ledger(archive: Archive, kinds: Sequence[str], target: str) -> None:
    """All rows, histories and runs are there; the whole manifest is skipped with it, and what is new is sent."""
    fill(archive, MIXED, 12)
    sources = [new(kind, archive.folder, str(number)) for number, kind in enumerate(kinds)]
    whole = new(target, archive.folder, "all")
    async with Sandbox() as sandbox:
        await history(archive, sandbox, sources)
        before = together(*sources)
        secrets = [held(each)["bulkup_meta"] for each in sources]
        counts = merged(sources, whole)
        assert together(whole) == together(*sources) == before
        assert [held(each)["bulkup_meta"] for each in sources] == secrets
        assert counts == Merged(len(before["documents"]), len(before["runs"]))
        states = Counter(row["state"] for row in before["documents"])
        assert (states["failed"], states["unknown"] > 0, sum(states.values())) == (2, True, 63)
        assert {former["fate"] for former in before["former_documents"]} == {None, "archived", "left"}
        requests = dict(sandbox.requests)
        archive.ledger = whole
        summary = await archive.upload(sandbox, skip_invalid=True)
        assert (summary.rows, summary.skipped, summary.failed) == (63, states["completed"], 2)
        assert summary.unknown == states["unknown"]
        assert {
            step: count - requests.get(step, 0)
            for step, count in sandbox.requests.items()
            if step[1] in {"init", "put", "form", "v1", "package"} and count != requests.get(step, 0)
        } == {}
        archive.add("new.pdf", account_id="A-79", provider="lightreach")
        assert (await archive.upload(sandbox, skip_invalid=True)).completed == 1


async def test_into_a_ledger_with_rows_of_its_own(archive: Archive) -> None:
    """They stay as they are, and more can be merged into it later; with its commands all of it can be asked for."""
    manifests = []
    async with Sandbox() as sandbox:
        for number in range(3):
            archive.rows.clear()
            archive.add(f"{number}.pdf", account_id=f"A-{number}", provider="lightreach")
            archive.row(f"missing {number}.pdf", account_id=f"A-{number}", provider="lightreach")
            archive.ledger = archive.folder / f"{number}.db"
            await archive.upload(sandbox)
            manifests += archive.rows
    before = together(*(archive.folder / f"{number}.db" for number in range(3)))
    for number in (0, 1):
        done = command("ledger", "merge", f"{number}.db", "-o", "2.db", environment={}, cwd=archive.folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{archive.folder / '2.db'}: 2 rows and 1 runs more, of 1 ledgers\n"
    assert together(archive.folder / "2.db") == before
    environment = {"BULKUP_LEDGER": "2.db"}
    status = command("status", environment=environment, cwd=archive.folder).stdout
    assert "6 rows\n          3 completed\n          3 failed" in status
    assert status.count("  run ") == 3
    export = command("export", "--format", "csv", environment=environment, cwd=archive.folder).stdout
    assert len(export.splitlines()) == 7
    assert command("orphans", environment=environment, cwd=archive.folder).returncode == 0


# --- overlaps --------------------------------------------------------------------------------------------------------


async def sent(archive: Archive, sandbox: Sandbox, name: str, numbers: Sequence[int], **options: Any) -> Path:
    """A ledger that sent some rows with keys, the file of each its own."""
    archive.rows.clear()
    for number in numbers:
        archive.add(f"{number}.pdf", key=f"key {number}", account_id=f"A-{number}")
    archive.ledger = archive.folder / f"{name}.db"
    await archive.upload(sandbox, **options)
    assert isinstance(archive.ledger, Path)
    return archive.ledger


async def test_an_overlap_is_refused(archive: Archive) -> None:
    """One line names a key, the ledgers that tell of it and how many such keys there are; nothing is written."""
    async with Sandbox() as sandbox:
        for name, numbers in (("a", range(5)), ("b", range(5, 9)), ("c", range(3, 7))):
            await sent(archive, sandbox, name, numbers)
    before = {name: held(archive.folder / f"{name}.db") for name in "abc"}
    done = command("ledger", "merge", "a.db", "b.db", "c.db", "-o", "all.db", environment={}, cwd=archive.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "bulkup: the ledgers overlap, so nothing was merged: 'key 3' is in a.db and in c.db (4 such keys)\n"
    )
    assert not (archive.folder / "all.db").exists()
    with pytest.raises(bulkup.LedgerError, match=r"'key 5' is in .*c\.db and in .*b\.db \(2 such keys\)"):
        merged([archive.folder / "b.db"], archive.folder / "c.db")
    assert {name: held(archive.folder / f"{name}.db") for name in "abc"} == before


async def test_a_ledger_of_a_server_that_overlaps(archive: Archive) -> None:
    """Keys are compared as texts, whatever order a database has for them; no tables are made by a refusal."""
    keys = ["a", "B", "b", "_", "é", "Z", "\U0001f4c4", "￿", "a b", "a-b", "ab"]
    for number, key in enumerate(keys):
        archive.add(f"{number}.pdf", key=key, account_id=f"A-{number}")
    ledgers: list[Place] = [archive.folder / "file.db", postgresql.ledger()]
    async with Sandbox() as sandbox:
        for archive.ledger in ledgers:
            await archive.upload(sandbox)
    target = postgresql.ledger()
    asked: list[tuple[str, str]] = []

    def note(_connection: object, cursor: object, statement: str, *_: object) -> None:
        asked.append((type(cursor).__name__, statement))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with pytest.raises(bulkup.LedgerError, match=r"'B' is in .*file\.db and in postgresql:.* \(11 such keys\)"):
            merged(ledgers, target)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    # the server of the tests knows no order but this one, others do; and what it sends is not held as a whole
    assert [cursor for cursor, statement in asked if 'ORDER BY documents.key COLLATE "C"' in statement] == [
        "ServerCursor"
    ]
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT * FROM pg_tables WHERE schemaname = current_schema()").fetchall() == []


@pytest.mark.parametrize("first", ["sent.db", "waiting.db"])
async def test_what_was_never_announced_gives_way(archive: Archive, first: str) -> None:
    """A ledger into which rows of another machine were once admitted, and not sent, is no overlap."""
    async with Sandbox() as sandbox:
        wrong = {"environment": sandbox.environment() | {"BULKUP_LIGHTREACH_TOKEN": "wrong"}}
        await sent(archive, sandbox, "waiting", range(8), max_requests=1, concurrency=1, **wrong)
        waiting = archive.ledger_rows()
        announced = {row["key"] for row in waiting if row["attempts"]}
        assert 0 < len(announced) < 8
        rest = [number for number in range(8) if f"key {number}" not in announced]
        await sent(archive, sandbox, "sent", rest)
    names = sorted(["sent.db", "waiting.db"], key=lambda name: name != first)
    counts = merged([archive.folder / name for name in names], archive.folder / "all.db")
    assert counts.rows == 8
    found = held(archive.folder / "all.db")["documents"]
    assert {row["key"] for row in found if row["state"] == "completed"} == {f"key {number}" for number in rest}
    assert {row["key"] for row in found if row["attempts"]} == {f"key {number}" for number in range(8)}


async def test_bad_rows_of_one_name_are_an_overlap(archive: Archive) -> None:
    """They have no key of their own, so nobody can tell whether the third row of both manifests is the same."""
    for number in range(2):
        archive.rows.clear()
        archive.row(f"{number}.pdf", account_id="")
        archive.ledger = archive.folder / f"{number}.db"
        async with Sandbox() as sandbox:
            await archive.upload(sandbox, skip_invalid=True)
    with pytest.raises(bulkup.LedgerError, match=r"'invalid:.*manifest\.csv#1' is in .*0\.db and in .*1\.db \(1 such"):
        merged([archive.folder / "0.db", archive.folder / "1.db"], archive.folder / "all.db")


_ROW: Mapping[str, Any] = {
    **dict.fromkeys(("provider", "target", "path", "filename", "share", "manifest", "admitted_by", "run_id"), "x"),
    "row": 1,
    "cells": {"a": "é"},
    "bundled": False,
}
_told = st.tuples(st.sampled_from(["pending", "failed", "completed", "bad"]), st.integers(0, 2))


def make(place: Path, told: Mapping[str, tuple[str, int]]) -> None:
    """A ledger that holds some keys, with the state of each and the number of its former documents."""
    with open_ledger(place) as ledger:
        for key, (state, formers) in told.items():
            announced = state == "completed" or formers > 0
            row = {"key": key, "state": state, "attempts": int(announced), "error": place.name, **_ROW}
            row |= {"state": "failed", "stage": "manifest"} if state == "bad" else {}
            (id_,) = ledger._connection.execute(insert(documents).returning(documents.c.id), row).one()
            for number in range(formers):
                former = {"document": id_, "document_id": f"{key} {number}", "replaced_by": "r", "replaced_at": "t"}
                ledger._connection.execute(insert(former_documents), former)
        ledger._connection.commit()


@settings(max_examples=max(15, settings().max_examples // 10))
@given(st.lists(st.dictionaries(st.sampled_from("abcdeé"), _told, max_size=6), min_size=2, max_size=3))
def test_any_ledgers(ledgers: list[dict[str, tuple[str, int]]]) -> None:
    """Either they overlap and nothing is written; or each key is there once, as the ledger has it that tells of it."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder, f"{number}.db") for number in range(len(ledgers))]
        for place, told in zip(places, ledgers, strict=True):
            make(place, told)
        telling: dict[str, list[str]] = {}
        for place, told in zip(places, ledgers, strict=True):
            for key, (state, formers) in told.items():
                telling.setdefault(key, [])
                if state in {"completed", "bad"} or formers:
                    telling[key].append(place.name)
        overlaps = {key: names for key, names in telling.items() if len(names) > 1}
        before = [held(place) for place in places]
        *sources, target = places
        if overlaps:
            key = min(overlaps)
            with pytest.raises(bulkup.LedgerError, match=f"{key!r} is in .*{len(overlaps)} such key"):
                merged(sources, target)
            assert [held(place) for place in places] == before
            return
        merged(sources, target)
        assert [held(place) for place in sources] == before[:-1]
        found = held(target)
        there = {row["key"]: row for row in found["documents"]}
        assert there.keys() == telling.keys()
        order = [target, *sources]
        for key, row in there.items():
            owner = telling[key][0] if telling[key] else next(p.name for p in order if key in ledgers[places.index(p)])
            assert row["error"] == owner
        assert Counter(row["document"] for row in found["former_documents"]) == Counter(
            {key: n for told in ledgers for key, (_, n) in told.items() if n}
        )
        assert all(row["document_id"].startswith(row["document"]) for row in found["former_documents"])


# --- what can go wrong -----------------------------------------------------------------------------------------------


def test_what_can_not_be_merged(tmp_path: Path) -> None:
    """One line and exit code 2: no such ledger, none at all, one that is in use, one that is named twice."""
    make(tmp_path / "a.db", {"a": ("completed", 0)})
    make(tmp_path / "b.db", {"b": ("completed", 0)})
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no ledger")
    nothing = postgresql.ledger()

    def said(*arguments: str) -> str:
        done = command("ledger", "merge", *arguments, environment={}, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        return line.removeprefix("bulkup: ")

    assert said("a.db", "c.db", "-o", "all.db") == "c.db: there is no ledger here"
    assert said("a.db", "empty.db", "-o", "all.db") == "empty.db: is not a ledger of bulkup"
    assert said("a.db", "text.db", "-o", "all.db") == "text.db: file is not a database"
    assert said("a.db", nothing, "-o", "all.db") == "postgresql:///postgres: is not a ledger of bulkup"
    assert said("a.db", "./a.db", "-o", "all.db") == "a.db: is named twice"
    assert said("a.db", "b.db", "-o", str(tmp_path / "b.db")) == f"{tmp_path / 'b.db'}: is named twice"
    assert said("a.db", "b.db", "-o", "mysql://h/x").startswith("mysql ledgers are not supported")
    assert said("a.db", "b.db", "-o", "no/all.db") == "no/all.db: can't open the ledger: there is no folder " + repr(
        str(tmp_path / "no")
    )
    in_use = "another run is using this ledger; wait for it, or name another"
    with open_ledger(tmp_path / "b.db"):
        assert said("a.db", "b.db", "-o", "all.db") == f"b.db: {in_use}"
        assert said("a.db", "-o", "b.db") == f"b.db: {in_use}"
    assert not (tmp_path / "all.db").exists()
    with psycopg.connect(nothing) as connection:
        assert connection.execute("SELECT * FROM pg_tables WHERE schemaname = current_schema()").fetchall() == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_half_merged(tmp_path: Path, kind: str) -> None:
    """The last of two sources, which turns out to be damaged near its end, is named, and the target is what it was."""
    make(tmp_path / "good.db", {f"good {number}": ("completed", 1) for number in range(5)})
    make(tmp_path / "other.db", {f"other {number}": ("completed", 1) for number in range(5)})
    make(tmp_path / "bad.db", {f"bad {number:04}": ("completed", number % 100 == 0) for number in range(2500)})
    with open_ledger(tmp_path / "bad.db") as ledger:
        ledger._connection.exec_driver_sql("UPDATE documents SET cells = '{' WHERE key = 'bad 2400'")
        ledger._connection.commit()
    target = new(kind, tmp_path, "all")
    merged([tmp_path / "good.db"], target)
    before = held(target)
    with pytest.raises(bulkup.LedgerError, match=r"bad\.db: can't read the ledger: .*; nothing was merged"):
        merged([tmp_path / "other.db", tmp_path / "bad.db"], target)
    assert held(target) == before
    with open_ledger(tmp_path / "bad.db") as ledger:
        ledger._connection.execute(update(documents).values(cells={}))
        ledger._connection.commit()
    assert merged([tmp_path / "other.db", tmp_path / "bad.db"], target).rows == 2505


def test_a_run_that_several_ledgers_have(tmp_path: Path) -> None:
    """Such as of two copies of one ledger: it stays, once, with its summary; one that did not end has none."""
    for name in "ab":
        make(tmp_path / f"{name}.db", {name: ("completed", 0)})
        with open_ledger(tmp_path / f"{name}.db") as ledger:
            for run in ("both", name):
                ledger._connection.execute(insert(runs), {"run_id": run, "manifest": "m", "started_at": run})
            ledger.finish_run("both", "now", {"shard": "1/2"})
    assert merged([tmp_path / "a.db", tmp_path / "b.db"], tmp_path / "all.db") == Merged(2, 3)
    with open_ledger(tmp_path / "all.db") as ledger:
        assert {run["run_id"]: run["summary"] for run in ledger.runs(9)} == {
            "both": {"shard": "1/2"},
            "a": None,
            "b": None,
        }
        nulls = ledger._connection.scalar(select(func.count()).where(runs.c.summary.is_(null())))
        assert nulls == 2


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """Five times the rows take no more memory."""

    def peak(count: int) -> int:
        place = tmp_path / f"{count}.db"
        with open_ledger(place) as ledger:
            values = [
                {"key": f"{count} {number}", "state": "completed", "attempts": 1, **_ROW} for number in range(count)
            ]
            ledger._connection.execute(insert(documents), values)
            ledger._connection.commit()
        del values
        tracemalloc.start()
        assert merged([place], tmp_path / "all.db").rows == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1000)
    assert peak(10_000) < 1.3 * peak(2000)
    assert {table.name for table in metadata.sorted_tables} >= {"documents", "former_documents", "runs"}
