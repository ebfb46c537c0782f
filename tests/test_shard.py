"""``--shard 3/8``: several machines, each with a ledger of its own, send each row of a manifest exactly once."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bulkup
from bulkup import config
from bulkup import run as running
from bulkup.clock import Clock
from bulkup.ledger import sharded
from bulkup.ledgers import open_ledger
from bulkup.providers import COLUMNS, SCATTERED
from bulkup.run import Order, admit
from bulkup.sandbox import Sandbox
from bulkup.sharding import Facts, Shard, cohort, shard_named
from tests import postgresql
from tests.conftest import Archive
from tests.process import Server, serving
from tests.process import bulkup as command
from tests.test_mixed import MIXED, fill
from tests.vendors import HELD


def facts(provider: str, target: str, *share: str | None, bundled: bool = False, filename: str = "a.pdf") -> Facts:
    """What says where a row belongs; the share is as the manifest's reader makes it."""
    return Facts(7, provider, target, orjson.dumps([provider, *share]).decode(), bundled, filename)


class Machines:
    """Machines that share the manifest of an archive, each with a ledger of its own."""

    def __init__(self, archive: Archive, count: int) -> None:
        self.archive = archive
        self.ledgers = [postgresql.ledger() if postgresql.EVERYWHERE else self._file(n) for n in range(count)]

    def _file(self, number: int) -> Path:
        return self.archive.folder / f"{number}.db"

    async def upload(self, sandbox: Sandbox, number: int, **options: Any) -> bulkup.Summary:
        """Send the shard of one machine, the first being 0."""
        self.archive.ledger = self.ledgers[number]
        return await self.archive.upload(sandbox, shard=f"{number + 1}/{len(self.ledgers)}", **options)

    def rows(self) -> list[list[dict[str, Any]]]:
        """What each ledger holds."""
        found = []
        for ledger in self.ledgers:
            with open_ledger(ledger, exclusive=False) as opened:
                found.append(list(opened.rows()))
        return found


# --- the rule --------------------------------------------------------------------------------------------------------

CONTRACT = {
    facts("lightreach", "account:00017", "00017", "utilityBill", None, None): (
        '["lightreach","account:00017"]',
        [1, 2, 3, 4, 8],
    ),
    facts("loanpro", "loan:10001", "loan:10001", "7", None): ('["loanpro","loan:10001"]', [1, 1, 2, 3, 3]),
    facts("alloy", "entity:P-1", "P-1", "contract", None, None): ('["alloy","entity:P-1"]', [1, 1, 2, 3, 7]),
    facts("kompliant", "subject:sr_é1", "sr_é1"): ('["kompliant","subject:sr_é1"]', [1, 2, 1, 4, 4]),
    facts("auco", "a@b.co", "a@b.co", "Order 1", "Your order", None, "ana@b.co", filename='c "1".pdf'): (
        '["auco","a@b.co","Order 1","Your order",null,"ana@b.co","c \\"1\\".pdf"]',
        [1, 2, 1, 2, 2],
    ),
    facts("auco", "a@b.co", "a@b.co", "Order 1", bundled=True): ('["auco","a@b.co","Order 1"]', [1, 1, 1, 3, 3]),
    Facts(7, "lightreach", "", "", bundled=False, filename=""): ("[7]", [1, 1, 3, 1, 1]),
}


@pytest.mark.parametrize("row", CONTRACT, ids=lambda row: f"{row.provider}-{row.target}-{row.bundled}")
def test_the_rule_is_the_same_in_every_version(row: Facts) -> None:
    """What a row is told apart by, and which of 1, 2, 3, 4 and 8 shards it is in: a contract, never to be changed."""
    text, numbers = CONTRACT[row]
    assert cohort(row, SCATTERED) == text
    found = [[number for number in range(1, count + 1) if Shard(number, count).has(text)] for count in (1, 2, 3, 4, 8)]
    assert found == [[number] for number in numbers]


def test_the_vendors_without_containers() -> None:
    """Auco alone: of the others documents and records are looked for in a list, which two machines must not change."""
    assert {"auco"} == SCATTERED


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 50))
def test_a_cohort_is_in_one_shard(text: str, count: int) -> None:
    """Whatever it is called, and however many shards there are."""
    assert [Shard(number, count).has(text) for number in range(1, count + 1)].count(True) == 1


def test_shards_are_about_as_large() -> None:
    """Ten thousand accounts on eight machines: none has a tenth more or less than its part."""
    sizes = Counter(
        next(n for n in range(1, 9) if Shard(n, 8).has(f'["lightreach","account:{account}"]'))
        for account in range(10_000)
    )
    assert all(0.9 < sizes[number] / 1250 < 1.1 for number in range(1, 9))


NONE = ["0/8", "9/8", "a/b", "1/0", "0/0", "3", "3/", "/8", "-1/8", "3/8/9", "1.5/8", "\u0663/\u0668", ""]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_shard(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what would be one, by option and by environment."""
    with pytest.raises(bulkup.ConfigError, match=r"^--shard: must be (like 3/8|one from 1/8 to 8/8|of one shard)"):
        config.settings(shard=text)
    monkeypatch.setenv("BULKUP_SHARD", text)
    with pytest.raises(bulkup.ConfigError, match=r"^BULKUP_SHARD: must be "):
        config.settings()


# --- any manifest ----------------------------------------------------------------------------------------------------

_few = st.integers(0, 3).map(str)
_lightreach = st.fixed_dictionaries(
    {"provider": st.just("lightreach"), "account_id": _few, "type": st.sampled_from(["bill", "photo", ""])},
    optional={"group": st.sampled_from(["g", "h"]), "external_reference": _few},
)
_loanpro = st.fixed_dictionaries(
    {"provider": st.just("loanpro"), "section_id": st.just("7")}, optional={"loan_id": _few, "customer_id": _few}
)
_alloy = st.fixed_dictionaries(
    {"provider": st.just("alloy"), "entity_token": _few, "type": st.sampled_from(["contract", "mistake"])}
)
_auco = st.fixed_dictionaries(
    {
        "provider": st.just("auco"),
        "email": st.sampled_from(["a@b.co", "c@d.co", "nobody"]),
        "name": _few,
        "subject": st.just("s"),
        "message": st.just("m"),
        "sign_profile": st.just('[{"name": "A", "email": "a@b.co"}]'),
    }
)
_rows = st.tuples(
    st.one_of(_lightreach, _loanpro, _alloy, _auco), st.sampled_from(["a.pdf", "b.pdf", "x/a.pdf", "c.png", "", "/"])
)


@settings(max_examples=max(30, settings().max_examples // 3))
@given(st.lists(_rows, min_size=1, max_size=30), st.integers(1, 4))
def test_shards_divide_any_manifest(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[dict[str, str], str]], count: int
) -> None:
    """Good, bad and twofold rows: each is in one shard, as it is without shards; containers and groups are whole."""
    manifest = tmp_path_factory.mktemp("any") / "m.jsonl"
    manifest.write_text("".join(json.dumps({"path": path} | columns) + "\n" for columns, path in rows), "utf-8")
    shards = [Shard(number, count) for number in range(1, count + 1)]
    whole = _admitted(Order(str(manifest), skip_invalid=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded, "_PAGE", 7)  # so that a manifest has several
        parts = [_admitted(Order(str(manifest), skip_invalid=True, shard=each)) for each in shards]
    assert sorted((row for part in parts for row in part), key=_number) == sorted(whole, key=_number)
    machines: dict[object, set[int]] = defaultdict(set)
    for machine, part in enumerate(parts):
        for row in part:
            if row["state"] == "pending":
                if row["provider"] != "auco":
                    machines[row["provider"], row["target"]].add(machine)
                if row["bundled"]:
                    machines[row["share"]].add(machine)
    assert all(len(found) == 1 for found in machines.values())


def _number(row: Mapping[str, Any]) -> int:
    number: int = row["row"]
    return number


def _admitted(order: Order) -> list[dict[str, Any]]:
    """What a ledger that is new holds of a manifest."""
    environment = {
        f"BULKUP_{name}": "x"
        for name in ("LIGHTREACH_TOKEN", "LOANPRO_TOKEN", "LOANPRO_INSTANCE_ID", "ALLOY_TOKEN", "ALLOY_SECRET")
    } | {"BULKUP_AUCO_PRIVATE_KEY": "x", "BULKUP_AUCO_PUBLIC_KEY": "x"}
    with open_ledger(None) as ledger:
        admitted = admit(order, ledger, environment=environment, complain=lambda _: None)
        rows = list(ledger.rows())
    assert admitted.rows == len(rows)
    assert set(admitted.adapters) == {row["provider"] for row in rows if row["state"] == "pending"}
    passing = ("id", "run_id", "admitted_by", "finished_at")
    return [{name: value for name, value in row.items() if name not in passing} for row in rows]


# --- at the vendors --------------------------------------------------------------------------------------------------


async def test_three_machines_send_each_row_once(archive: Archive) -> None:
    """100 rows of each vendor, three ledgers: each store holds each document once; a second round sends nothing."""
    expected = fill(archive, MIXED, 100)
    machines = Machines(archive, 3)
    async with Sandbox() as sandbox:
        sums = [await machines.upload(sandbox, number) for number in range(3)]
        assert [each.shard for each in sums] == ["1/3", "2/3", "3/3"]
        assert all(each.completed == each.rows and each.exit_code == 0 for each in sums)
        assert sum(each.rows for each in sums) == 500
        for provider, documents in expected.items():
            assert HELD[provider](sandbox) == documents, provider
        assert not sandbox.breaches
        before = dict(sandbox.requests)
        again = [await machines.upload(sandbox, number) for number in range(3)]
        assert [each.skipped for each in again] == [each.rows for each in sums]
        assert dict(sandbox.requests) == before
    holders: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, rows in enumerate(machines.rows()):
        for row in rows:
            holders[row["provider"], row["target"]].add(number)
    assert {container for container, found in holders.items() if len(found) > 1} <= {("auco", "creator@example.com")}
    assert len(holders["auco", "creator@example.com"]) == 3  # which is no container


async def test_groups_and_inits_stay_whole(archive: Archive) -> None:
    """60 accounts of ten files, a group of three among them: no more inits than without shards, groups whole."""
    for account in range(60):
        for number in range(10):
            group = {"group": "pages"} if number < 3 else {}
            archive.add(f"{account}/{number}.pdf", b"x", account_id=f"A-{account}", **group)
    machines = Machines(archive, 4)
    async with Sandbox() as sandbox:
        sums = [await machines.upload(sandbox, number) for number in range(4)]
        assert [each.exit_code for each in sums] == [0] * 4
        assert all(each.rows > 60 for each in sums)
        assert sandbox.requests["lightreach", "init"] == 120
        files = Counter(len(document.files) for document in sandbox.lightreach.documents)
        assert files == {3: 60, 1: 420}


async def test_another_shard_on_the_same_ledger(archive: Archive) -> None:
    """The rows of the others are new ones: what was sent is skipped, the rest is sent, in the end all of it once."""
    for account in range(12):
        archive.add(f"{account}.pdf", account_id=f"A-{account}")
    async with Sandbox() as sandbox:
        first = await archive.upload(sandbox, shard="1/2")
        other = await archive.upload(sandbox, shard="2/2")
        assert (first.completed + other.completed, other.skipped) == (12, 0)
        whole = await archive.upload(sandbox)
        assert (whole.rows, whole.skipped, whole.shard) == (12, 12, None)
        quarter = await archive.upload(sandbox, shard="1/4")
        assert 0 < quarter.rows == quarter.skipped < 12
        assert len(sandbox.lightreach.documents) == 12


async def test_a_shard_without_rows(archive: Archive) -> None:
    """One account is in one shard; the other one ends well, and needs no credentials."""
    for number in range(5):
        archive.add(f"{number}.pdf")
    machines = Machines(archive, 2)
    async with Sandbox() as sandbox:
        sums = [await machines.upload(sandbox, number) for number in range(2)]
        assert sorted(each.rows for each in sums) == [0, 5]
        empty = next(number for number in range(2) if not sums[number].rows)
        assert (await machines.upload(sandbox, empty, environment={})).exit_code == 0


# --- bad rows --------------------------------------------------------------------------------------------------------


def bad(archive: Archive) -> None:
    """Twelve accounts with a good row each, and as many bad ones of four kinds."""
    for account in range(12):
        archive.add(f"{account}.pdf", account_id=f"A-{account}")
    for number in range(3):
        archive.row(f"{number}.pdf", account_id=f"A-{number}", type="")
        archive.row("", account_id=f"B-{number}")
        archive.row(f"{number}.pdf", account_id=f"A-{number}")  # again
        archive.row(f"g{number}.pdf", account_id=f"C-{number}", group="torn")
        archive.row("", account_id=f"C-{number}", group="torn")


async def test_the_whole_manifest_is_checked_on_each_machine(archive: Archive) -> None:
    """All complaints, whosever rows they are, and nothing is sent."""
    bad(archive)
    machines = Machines(archive, 3)
    said = []
    async with Sandbox() as sandbox:
        for number in range(3):
            with pytest.raises(bulkup.ManifestError, match="15 of 27 rows can't be sent") as refused:
                await machines.upload(sandbox, number)
            said.append([str(complaint) for complaint in refused.value.complaints])
        assert not sandbox.requests
    assert said[0] == said[1] == said[2]
    assert not any(machines.rows())


async def test_a_bad_row_is_in_one_shard(archive: Archive) -> None:
    """With --skip-invalid each is recorded as failed by one machine, and the sum of all shards is the manifest."""
    bad(archive)
    machines = Machines(archive, 3)
    async with Sandbox() as sandbox:
        sums = [await machines.upload(sandbox, number, skip_invalid=True) for number in range(3)]
        assert sum(each.completed for each in sums) == len(sandbox.lightreach.documents) == 12
        assert sum(each.failed for each in sums) == 15
        assert all(each.rows == each.completed + each.failed for each in sums)
    failed = Counter(row["row"] for rows in machines.rows() for row in rows if row["state"] == "failed")
    assert failed == dict.fromkeys(range(13, 28), 1)


async def test_a_mended_row_is_forgotten_as_a_bad_one(archive: Archive) -> None:
    """By the next run of its shard; and a run of another shard on that ledger forgets no bad row."""
    bad(archive)
    async with Sandbox() as sandbox:
        for number in (1, 2, 1):
            await archive.upload(sandbox, shard=f"{number}/2", skip_invalid=True)
        assert sum(row["state"] == "failed" for row in archive.ledger_rows()) == 15
        archive.rows = [row for row in archive.rows if row["path"] and row["type"] and row.get("group") != "torn"][:12]
        for number in (1, 2):
            await archive.upload(sandbox, shard=f"{number}/2")
        assert Counter(row["state"] for row in archive.ledger_rows()) == {"completed": 12}


async def test_the_day_of_another_machine_s_row(archive: Archive) -> None:
    """A row that was sent in time by one machine does not keep the other from its own after that day."""
    moment = (datetime.now(UTC) + timedelta(days=3, hours=12)).isoformat()
    columns = MIXED[4].row(1) | {"expired_date": moment}
    for number in range(8):
        archive.add(f"{number}.pdf", b"%PDF-1.7", **columns)
    machines = Machines(archive, 2)
    order = [Order(str(archive.manifest()), shard=Shard(number, 2)) for number in (1, 2)]
    late = Clock(wall=lambda: time.time() + 86_400)
    async with Sandbox() as sandbox:
        assert 0 < (await machines.upload(sandbox, 0)).completed < 8
        given: dict[str, Any] = {"environment": sandbox.environment(), "complain": lambda _: None, "clock": late}
        with open_ledger(machines.ledgers[0]) as ledger:
            admitted = running.admit(order[0], ledger, **given)
            assert set(ledger.states(admitted.run_id)) == {"skipped"}
        with open_ledger(machines.ledgers[1]) as ledger, pytest.raises(bulkup.ManifestError):
            running.admit(order[1], ledger, **given)


# --- what is said of it ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One sandbox for the commands; each test has accounts of its own."""
    with serving() as server:
        yield server


def test_the_shard_is_told(archive: Archive, server: Server) -> None:
    """By run, dry run and status, in words and as JSON; by option or environment, whichever is given."""
    for account in range(20):
        archive.add(f"{account}.pdf", provider="lightreach", account_id=f"told-{account}")
    manifest = archive.manifest()

    def told(*arguments: str, **settings: str) -> tuple[str, str]:
        done = command("run", manifest, *arguments, environment={**server.environment, **settings}, cwd=archive.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    (plan, _), (planned, _) = told("--shard", "2/3", "--dry-run"), told("--dry-run", "--json", BULKUP_SHARD="2/3")
    facts = json.loads(planned)
    rows = facts["rows"]
    assert 0 < rows == facts["send"] < 20
    assert facts["shard"] == "2/3"
    assert plan.startswith(f"dry run of shard 2/3, nothing was sent: {rows} rows = {rows} to send")
    out, said = told("--shard", "2/3", BULKUP_SHARD="1/3")
    assert f": shard 2/3: {rows} rows = {rows} completed + 0 failed" in out
    assert f": shard 2/3: {rows} rows, sending to lightreach" in said
    summary = json.loads(told("--json", BULKUP_SHARD="2/3")[0].splitlines()[-1])
    assert (summary["rows"], summary["skipped"], summary["shard"]) == (rows, rows, "2/3")
    status = command("status", environment={}, cwd=archive.folder).stdout
    assert f"{archive.folder / 'manifest.csv'}, shard 2/3, {rows} rows, ended" in status
    assert json.loads(told("--json", "--dry-run")[0])["shard"] is None


def test_a_shard_that_is_none(archive: Archive, server: Server) -> None:
    """The command ends with one line and exit code 2, and makes no ledger."""
    archive.add("a.pdf", provider="lightreach")
    done = command("run", archive.manifest(), "--shard", "9/8", environment=server.environment, cwd=archive.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bulkup: --shard: must be one from 1/8 to 8/8\n"
    assert not archive.file.exists()


def test_all_shards_of_a_name() -> None:
    """A shard is read as it is written."""
    assert [str(shard_named(text)) for text in ("1/1", "3/8", "8/8", "03/8")] == ["1/1", "3/8", "8/8", "3/8"]
    assert set(COLUMNS) >= SCATTERED
