"""The command line as its users run it: output, exit codes, signals, and what is written where."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import resource
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from tests.conftest import Archive
from tests.process import BULKUP, Server, bulkup, clean_environment, serving, start


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One sandbox for the tests of this module; each test has an account of its own."""
    with serving() as server:
        yield server


def accounts(server: Server, account: str) -> list[str]:
    """Names of the files that an account holds."""
    return sorted(file["name"] for d in server.documents() if d["account"] == account for file in d["files"])


def small(archive: Archive, account: str, files: int = 3) -> Path:
    """A small manifest."""
    for number in range(files):
        archive.add(f"{number}.pdf", account_id=account, provider="lightreach")
    return archive.manifest()


def test_a_run_prints_the_count_that_adds_up(archive: Archive, server: Server) -> None:
    """The summary goes to standard output, and exit code 0 says that every row is completed."""
    done = bulkup("run", small(archive, "count"), environment=server.environment, cwd=archive.folder)
    assert done.returncode == 0
    assert "3 rows = 3 completed + 0 failed + 0 skipped + 0 unknown + 0 pending" in done.stdout
    assert str(archive.file) in done.stdout
    (said,) = done.stderr.splitlines()
    assert said.endswith(f"3 rows, sending to lightreach at {server.environment['BULKUP_LIGHTREACH_BASE_URL']}")
    again = bulkup("run", archive.manifest(), environment=server.environment, cwd=archive.folder)
    assert "0 completed + 0 failed + 3 skipped" in again.stdout
    assert accounts(server, "count") == ["0.pdf", "1.pdf", "2.pdf"]


def test_json_lines(archive: Archive, server: Server) -> None:
    """--json writes one object a row as it ends, and the summary last; nothing else is on standard output."""
    manifest = small(archive, "json")
    archive.row("missing.pdf", account_id="json", provider="lightreach")
    done = bulkup("run", archive.manifest(), "--json", environment=server.environment, cwd=archive.folder)
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["document"] * 4 + ["summary"]
    assert {event["state"] for event in events[:-1]} == {"completed", "failed"}
    assert all(event["key"] for event in events[:-1])
    summary = events[-1]
    size = sum(path.stat().st_size for path in manifest.parent.glob("*.pdf"))
    wanted = {"completed": 3, "failed": 1, "skipped": 0, "unknown": 0, "pending": 0, "bytes": size}
    assert {name: summary[name] for name in wanted} == wanted
    assert summary["seconds"] > 0
    assert summary["run_id"]


def test_dry_run_sends_nothing_and_writes_nothing(archive: Archive, server: Server) -> None:
    """--dry-run needs no credentials, makes no ledger, and says what would be sent."""
    manifest = small(archive, "dry", files=30)
    done = bulkup("run", manifest, "--dry-run", environment={}, cwd=archive.folder)
    assert done.returncode == 0
    assert "30 rows = 30 to send" in done.stdout
    assert "2 inits" in done.stdout
    assert not archive.file.exists()
    bulkup("run", manifest, environment=server.environment, cwd=archive.folder)
    before = archive.file.read_bytes()
    done = bulkup("run", manifest, "--dry-run", "--json", environment={}, cwd=archive.folder)
    plan = json.loads(done.stdout)
    assert (plan["event"], plan["rows"], plan["send"], plan["skip"]) == ("plan", 30, 0, 30)
    assert archive.file.read_bytes() == before


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "json", "jsonl", "jsonl.zst", "-"])
def test_every_manifest_format(archive: Archive, server: Server, kind: str) -> None:
    """The same rows go up from each format, with a BOM, CRLF, and an id with leading zeros."""
    small(archive, f"00{kind}")
    rows = archive.rows
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\r\n", delimiter="\t" if kind == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    text = {
        "csv": "\ufeff" + table.getvalue(),
        "tsv": table.getvalue(),
        "json": json.dumps(rows),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
    }.get(kind.partition(".")[0], "".join(json.dumps(row) + "\n" for row in rows))
    data = text.encode()
    if kind.endswith("gz"):
        data = gzip.compress(data)
    if kind.endswith("zst"):
        data = zstandard.compress(data)
    name = "-" if kind == "-" else f"m.{kind}"
    if name != "-":
        (archive.folder / name).write_bytes(data)
    done = bulkup("run", name, environment=server.environment, cwd=archive.folder, stdin=data)
    assert done.returncode == 0, done.stderr
    assert accounts(server, f"00{kind}") == ["0.pdf", "1.pdf", "2.pdf"]


BAD_MANIFESTS = {
    "empty": (b"", "has no rows"),
    "header only": (b"path,account_id,type\n", "has no rows"),
    "wrong header": (b"path,acount_id,type\na.pdf,A,t\n", "unknown column 'acount_id': did you mean 'account_id'?"),
    "no account": (b"path,account_id,type\na.pdf,,t\n", "row 1 (line 2): column 'account_id': is required"),
    "latin-1": (b"path,account_id,type\ncaf\xe9.pdf,A,t\n", "is not UTF-8"),
    "utf-16": ("path,account_id,type\na.pdf,A,t\n".encode("utf-16"), "UTF-16"),
    "duplicate": (
        b"key,path,account_id,type\nk,a,A,t\nk,b,A,t\n",
        "row 2 (line 3): column 'key': has the same key as row 1",
    ),
    "unclosed quote": (b'path,account_id,type\n"a.pdf,A,t\nb.pdf,A,t\n', "quote"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_bad_manifest_is_one_line_and_exit_2(archive: Archive, server: Server, case: str) -> None:
    """Nothing is sent; the complaint says where and what would be right, without a traceback."""
    content, words = BAD_MANIFESTS[case]
    (archive.folder / "m.csv").write_bytes(content)
    done = bulkup("run", "m.csv", "--provider", "lightreach", environment=server.environment, cwd=archive.folder)
    assert done.returncode == 2
    assert done.stdout == ""
    complaint, refusal = done.stderr.splitlines()
    assert complaint.startswith("m.csv: ")
    assert words in complaint
    assert "nothing was sent" in refusal


def test_a_cut_json_manifest_is_refused(archive: Archive, server: Server) -> None:
    """A JSON manifest that ends in the middle sends none of its rows."""
    small(archive, "cut")
    whole = json.dumps(archive.rows).encode()
    (archive.folder / "m.json").write_bytes(whole[:-40])
    done = bulkup("run", "m.json", environment=server.environment, cwd=archive.folder)
    assert done.returncode == 2
    assert "is cut off (the last complete row is 2)" in done.stderr
    assert accounts(server, "cut") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.csv"], "none.csv: there is no such file"),
        (["run", "m.csv", "--concurrency", "0"], "--concurrency"),
        (["run", "m.csv", "--base-url", "ftp://x"], "--base-url: must be like https://host"),
        (["run", "m.csv", "--ledger", "no/folder/x.db"], "can't open the ledger"),
        (["run", "m.csv", "--ledger", "m.csv"], "m.csv"),
        (
            ["run", "m.csv", "--ledger", "mysql://u:secret@h/x"],
            "mysql ledgers are not supported: name a file, or postgresql://HOST/DATABASE",
        ),
        (["export", "--ledger", "none.db"], "there is no ledger here"),
        (["status", "--ledger", "none.db"], "there is no ledger here"),
        (["sandbox", "--host", "0.0.0.0"], "loopback"),
        (["sandbox", "--faults", "none.json"], "none.json"),
        (["run"], "Missing argument"),
        (["frobnicate"], "No such command"),
    ],
)
def test_usage_errors_are_exit_2(archive: Archive, server: Server, arguments: list[str], words: str) -> None:
    """What the user has to change is said without a traceback, and nothing is sent."""
    small(archive, "usage")
    (archive.folder / "m.csv").write_bytes(archive.manifest().read_bytes())
    done = bulkup(*arguments, environment=server.environment, cwd=archive.folder)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_from_the_environment_is_named_when_it_is_wrong(archive: Archive, server: Server) -> None:
    """BULKUP_CONCURRENCY works like --concurrency, and is named in the complaint."""
    environment = {**server.environment, "BULKUP_CONCURRENCY": "many"}
    done = bulkup("run", small(archive, "env"), environment=environment, cwd=archive.folder)
    assert done.returncode == 2
    assert "BULKUP_CONCURRENCY" in done.stderr


def test_a_failed_row_goes_back_into_a_manifest(archive: Archive, server: Server) -> None:
    """Export --state failed --format csv is a manifest that sends just these rows, and they keep their keys."""
    small(archive, "again")
    archive.row("late.pdf", account_id="again", provider="lightreach", external_reference="007")
    first = bulkup("run", archive.manifest(), environment=server.environment, cwd=archive.folder)
    assert first.returncode == 1
    export = ["export", "--state", "failed", "--format", "csv", "-o", "failed.csv"]
    assert bulkup(*export, environment={}, cwd=archive.folder).returncode == 0
    (archive.folder / "late.pdf").write_bytes(b"here now")
    done = bulkup("run", "failed.csv", environment=server.environment, cwd=archive.folder)
    assert "1 rows = 1 completed" in done.stdout, done.stderr
    exported = bulkup("export", environment={}, cwd=archive.folder)
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [row["state"] for row in rows] == ["completed"] * 4
    assert rows[3]["columns"] == {"account_id": "again", "type": "utilityBill", "external_reference": "007"}
    assert Path(rows[3]["path"]).is_absolute()
    assert stat.S_IMODE((archive.folder / "failed.csv").stat().st_mode) == 0o600


def test_an_export_opens_safely_in_a_spreadsheet(archive: Archive, server: Server) -> None:
    """No cell of it begins like a formula, and as a manifest it still says what the first one said."""
    wide = ["\uff1dx", "\uff0b1", "\uff0d1", "\uff20x", "'\uff1dx"]
    hostile = ["=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "'quoted", "'=x", "plain", "\t=1", "\r=1", "\n=1", *wide]
    for number, text in enumerate(hostile):
        archive.row(
            "missing.pdf", account_id="formula", provider="lightreach", external_reference=text, key=f"{text}#{number}"
        )
    assert bulkup("run", archive.manifest(), environment=server.environment, cwd=archive.folder).returncode == 1
    done = bulkup("export", "-f", "csv", "-o", "failed.csv", environment={}, cwd=archive.folder)
    assert done.returncode == 0
    with (archive.folder / "failed.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    assert not [
        cell
        for row in exported
        for cell in row.values()
        if cell.startswith((*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20"))
    ]
    (archive.folder / "missing.pdf").write_bytes(b"here now")
    again = bulkup("run", "failed.csv", environment=server.environment, cwd=archive.folder)
    assert f"{len(hostile)} rows = {len(hostile)} completed" in again.stdout
    assert [row["key"] for row in archive.ledger_rows()] == [f"{text}#{number}" for number, text in enumerate(hostile)]
    held = {d["externalReference"] for d in server.documents() if d["account"] == "formula"}
    assert held == set(hostile)


def test_status_counts_and_explains(archive: Archive, server: Server) -> None:
    """Status says how many rows are in which state, and why some failed."""
    small(archive, "status")
    archive.row("missing.pdf", account_id="status", provider="lightreach")
    bulkup("run", archive.manifest(), environment=server.environment, cwd=archive.folder)
    done = bulkup("status", environment={}, cwd=archive.folder)
    assert "3 completed" in done.stdout
    assert "file_missing" in done.stdout
    facts = json.loads(bulkup("status", "--json", environment={}, cwd=archive.folder).stdout)
    assert facts["states"]["completed"] == 3
    assert facts["reasons"][0]["error_code"] == "file_missing"


def test_all_that_is_written_is_private(archive: Archive, server: Server) -> None:
    """Ledger, its write-ahead log and lock, and an export have mode 0600, whatever the umask and the mode before."""
    manifest = small(archive, "private")
    names = ("bulkup.db", "bulkup.db-wal", "bulkup.db-shm", "bulkup.db.lock")
    for name in ("bulkup.db", "bulkup.db.lock", "export.csv"):
        (archive.folder / name).touch(0o666)
        (archive.folder / name).chmod(0o666)
    (archive.folder / "export.csv").write_text("older, and longer than the header\n" * 100)
    server.faults({"kind": "latency", "step": "init", "seconds": 30, "match": "accounts/private/"})
    umask = os.umask(0)
    try:
        run = start("run", manifest, environment=server.environment, cwd=archive.folder)
        try:
            _wait_for_state(archive.file, "initiated")
            modes = {name: stat.S_IMODE((archive.folder / name).stat().st_mode) for name in names}
        finally:
            run.kill()
            run.communicate()
        assert bulkup("export", "-f", "csv", "-o", "export.csv", environment={}, cwd=archive.folder).returncode == 0
    finally:
        os.umask(umask)
        server.faults()
    assert modes == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE((archive.folder / "export.csv").stat().st_mode) == 0o600
    assert "older" not in (archive.folder / "export.csv").read_text()


def test_the_ledger_is_private_and_held_by_one_run(archive: Archive, server: Server) -> None:
    """The ledger is readable by its owner only; a second run says that it is in use, and exits 2."""
    manifest = small(archive, "lock")
    server.faults({"kind": "latency", "step": "init", "seconds": 30, "match": "accounts/lock/"})
    first = start("run", manifest, "-v", environment=server.environment, cwd=archive.folder)
    try:
        _wait_for_state(archive.file, "initiated")
        second = bulkup("run", manifest, environment=server.environment, cwd=archive.folder)
        assert second.returncode == 2
        assert "another run is using this ledger" in second.stderr
        assert stat.S_IMODE(archive.file.stat().st_mode) == 0o600
        assert bulkup("status", environment={}, cwd=archive.folder).returncode == 0
    finally:
        first.kill()
        first.communicate()
        server.faults()


def test_a_newer_ledger_is_refused(archive: Archive, server: Server) -> None:
    """A ledger that a newer bulkup wrote is left alone."""
    manifest = small(archive, "newer")
    bulkup("run", manifest, environment=server.environment, cwd=archive.folder)
    with closing(sqlite3.connect(archive.file)) as database:
        database.execute("UPDATE bulkup_meta SET value = '99'")
        database.commit()
    done = bulkup("run", manifest, environment=server.environment, cwd=archive.folder)
    assert done.returncode == 2
    assert "newer bulkup" in done.stderr


def _wait_for_state(ledger: Path, state: str) -> None:
    """Until a row of the ledger is in a state; the run writes it soon."""
    while True:
        try:
            with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
                if database.execute("SELECT 1 FROM documents WHERE state = ?", (state,)).fetchone():
                    return
        except sqlite3.OperationalError:
            continue


def test_kill_and_resume(archive: Archive, server: Server) -> None:
    """Kill -9 in the middle, the same command again: every document once. A third time: nothing is created."""
    for number in range(120):
        archive.add(f"{number}.pdf", account_id="kill", provider="lightreach", external_reference=str(number % 40))
    manifest = archive.manifest()
    environment = {**server.environment, "BULKUP_SETTLE": "1"}
    server.faults({"kind": "latency", "step": "put", "seconds": 0.05})
    for _ in range(3):
        run = start("run", manifest, "-c", "2", environment=environment, cwd=archive.folder)
        done = len(accounts(server, "kill"))
        while len(accounts(server, "kill")) < min(done + 20, 100):
            assert run.poll() is None
        run.kill()
        run.communicate()
    server.faults()
    last = bulkup("run", manifest, environment=environment, cwd=archive.folder)
    assert last.returncode == 0, last.stderr
    assert accounts(server, "kill") == sorted(f"{number}.pdf" for number in range(120))
    assert "120 rows = " in last.stdout
    assert " 0 failed" in last.stdout
    requests = server.state()["requests"]
    third = bulkup("run", manifest, environment=environment, cwd=archive.folder)
    assert "0 completed + 0 failed + 120 skipped" in third.stdout
    assert server.state()["requests"] == requests


def test_ctrl_c_once_finishes_what_is_in_flight(archive: Archive, server: Server) -> None:
    """After one SIGINT no row is taken any more, what is in flight completes, exit code 130; the rest is pending."""
    for number in range(300):
        archive.add(f"{number}.pdf", account_id="int1", provider="lightreach", external_reference=str(number))
    manifest = archive.manifest()
    server.faults({"kind": "latency", "step": "put", "seconds": 0.05})
    run = start("run", manifest, "-c", "2", "--json", environment=server.environment, cwd=archive.folder)
    assert run.stdout is not None
    run.stdout.readline()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=30)
    server.faults()
    assert run.returncode == 130, err
    assert "stopping" in err
    summary = json.loads(out.splitlines()[-1])
    assert summary["completed"] >= 1
    assert summary["pending"] >= 1
    assert summary["completed"] + summary["pending"] == 300
    assert len(accounts(server, "int1")) == summary["completed"]
    again = bulkup("run", manifest, environment=server.environment, cwd=archive.folder)
    assert again.returncode == 0
    assert len(accounts(server, "int1")) == 300


def test_ctrl_c_twice_stops_at_once(archive: Archive, server: Server) -> None:
    """After two SIGINT the run ends although an answer is outstanding, and the next run completes each row once."""
    manifest = small(archive, "int2")
    server.faults({"kind": "latency", "step": "put", "seconds": 30, "times": 3})
    environment = {**server.environment, "BULKUP_SETTLE": "1"}
    run = start("run", manifest, environment=environment, cwd=archive.folder)
    _wait_for_state(archive.file, "initiated")
    run.send_signal(signal.SIGINT)
    assert run.stderr is not None
    while "stopping" not in run.stderr.readline():
        pass
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=20)
    server.faults()
    assert run.returncode == 130
    assert "3 rows = 0 completed + 0 failed + 0 skipped + 0 unknown + 3 pending" in out
    assert bulkup("run", manifest, environment=environment, cwd=archive.folder).returncode == 0
    assert accounts(server, "int2") == ["0.pdf", "1.pdf", "2.pdf"]


def test_more_ctrl_c_change_nothing(archive: Archive, server: Server) -> None:
    """A third and fourth SIGINT, while the run ends, neither crash it nor hide its summary."""
    manifest = small(archive, "int4", files=60)
    server.faults({"kind": "latency", "step": "put", "seconds": 30})
    run = start("run", manifest, "--json", environment=server.environment, cwd=archive.folder)
    _wait_for_state(archive.file, "initiated")
    for _ in range(40):
        run.send_signal(signal.SIGINT)
        try:
            run.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    out, err = run.communicate(timeout=20)
    server.faults()
    assert run.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["pending"] == 60


def test_ctrl_c_while_the_manifest_is_read(archive: Archive, server: Server) -> None:
    """Before anything is sent, one SIGINT ends it with one line and 130."""
    os.mkfifo(archive.folder / "m.jsonl")
    run = start("run", "m.jsonl", environment=server.environment, cwd=archive.folder)
    with (archive.folder / "m.jsonl").open("w") as manifest:  # opens once the run reads it
        manifest.write("{}\n")
        manifest.flush()
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert err.splitlines()[-1] == "bulkup: interrupted"
    assert "Traceback" not in err


def test_a_full_disk_ends_in_one_line(archive: Archive, server: Server) -> None:
    """When the ledger can't grow any more, the run ends with one line and exit code 1, and the next one goes on."""
    for number in range(400):
        archive.add(f"{number}.pdf", account_id="full", provider="lightreach", external_reference=str(number))
    manifest = archive.manifest()
    assert bulkup("run", manifest, "--dry-run", environment={}, cwd=archive.folder).returncode == 0
    environment = {**server.environment, "BULKUP_SETTLE": "1"}

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))

    done = subprocess.run(
        [*BULKUP, "run", str(manifest), "-c", "4"],
        env=clean_environment(environment),
        cwd=archive.folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        preexec_fn=limited,
    )
    assert done.returncode == 1, done.stderr
    assert "can't write the ledger" in done.stderr
    assert "Traceback" not in done.stderr
    again = bulkup("run", manifest, environment=environment, cwd=archive.folder)
    assert again.returncode == 0, again.stderr
    assert len(accounts(server, "full")) == 400


def test_no_secret_is_written_anywhere(archive: Archive, server: Server) -> None:
    """Signed URLs' queries, bearer and password are in no output, no ledger and no export, even with -vv."""
    small(archive, "secret", files=5)
    archive.add("refused.pdf", account_id="secret", provider="lightreach")
    archive.add("large.pdf", b"x" * 300_000, account_id="secret", provider="lightreach")
    manifest = archive.manifest()
    server.faults(
        {"kind": "status", "step": "put", "status": 403, "match": "refused", "message": "Signature=abc in the words"},
        {"kind": "reset_mid", "step": "put", "times": 2},
        {"kind": "drop_stream", "step": "stream", "times": 1, "events": 0},
    )
    outputs: list[str] = []
    login = {
        "BULKUP_LIGHTREACH_BASE_URL": server.environment["BULKUP_LIGHTREACH_BASE_URL"],
        "BULKUP_LIGHTREACH_USERNAME": "machine@sandbox.invalid",
        "BULKUP_LIGHTREACH_PASSWORD": "sandbox-password",
    }
    for environment, ledger in ((server.environment, "one.db"), (login, "two.db")):
        done = bulkup("run", manifest, "-vv", "-l", ledger, environment=environment, cwd=archive.folder)
        assert done.returncode in {0, 1}, done.stderr
        assert "DEBUG" not in done.stdout
        outputs += [done.stdout, done.stderr]
        for shape in ("jsonl", "csv"):
            outputs.append(bulkup("export", "-l", ledger, "-f", shape, environment={}, cwd=archive.folder).stdout)
    server.faults()
    assert "/documents" in outputs[1]
    written = "\n".join(outputs).encode() + b"".join(path.read_bytes() for path in archive.folder.glob("*.db*"))
    token = server.environment["BULKUP_LIGHTREACH_TOKEN"]
    for secret in (token, "sandbox-password", "X-Amz-", "Signature=abc", "/store/", "eyJ"):
        assert secret.encode() not in written, secret
