"""A ledger in PostgreSQL, on a real server. `make test-postgresql` keeps the ledgers of many more tests there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from bulkup.ledgers import open_ledger
from bulkup.location import located
from tests import postgresql
from tests.conftest import Archive
from tests.process import Server, bulkup, clean_environment, serving, start

SECRET = "not-to-be-seen"  # noqa: S105 - of nobody


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One sandbox for the tests of this module; each test has an account of its own."""
    with serving() as server:
        yield server


@pytest.fixture
def ledger() -> str:
    """The URL of a ledger that is not there yet; the server asks for no password, and gets one."""
    return postgresql.ledger().replace("postgres:@", f"postgres:{SECRET}@")


def small(archive: Archive, account: str, files: int = 3) -> Path:
    """A small manifest."""
    for number in range(files):
        archive.add(f"{number}.pdf", account_id=account, provider="lightreach")
    return archive.manifest()


def counts(server: Server, account: str) -> dict[str, int]:
    """How often each file name is in an account."""
    names = [file["name"] for d in server.documents() if d["account"] == account for file in d["files"]]
    return {name: names.count(name) for name in names}


def initiated(ledger: str) -> None:
    """Wait until a row is."""
    with psycopg.connect(ledger, autocommit=True) as connection:
        while True:
            try:
                if connection.execute("SELECT 1 FROM documents WHERE state = 'initiated'").fetchone():
                    return
            except psycopg.errors.UndefinedTable:
                continue


def test_the_whole_way(archive: Archive, server: Server, ledger: str) -> None:
    """Run, run again, status and export, by a URL from the environment; its password is shown nowhere."""
    manifest = small(archive, "whole")
    archive.row("missing.pdf", account_id="whole", provider="lightreach")
    archive.manifest()
    environment = {**server.environment, "BULKUP_LEDGER": ledger}
    first = bulkup("run", manifest, "-vv", environment=environment, cwd=archive.folder)
    again = bulkup("run", manifest, "--ledger", ledger, environment=server.environment, cwd=archive.folder)
    status = bulkup("status", environment=environment, cwd=archive.folder)
    export = bulkup("export", "--state", "failed", "-f", "csv", environment=environment, cwd=archive.folder)
    dry = bulkup("run", manifest, "--dry-run", environment=environment, cwd=archive.folder)
    assert (first.returncode, again.returncode, status.returncode, export.returncode, dry.returncode) == (1, 1, 0, 0, 0)
    assert "4 rows = 3 completed + 1 failed" in first.stdout
    assert "ledger: postgresql:///postgres" in first.stdout
    assert "0 completed + 1 failed + 3 skipped" in again.stdout
    assert "3 completed" in status.stdout
    assert "file_missing" in export.stdout
    assert "1 to send" in dry.stdout
    assert counts(server, "whole") == {"0.pdf": 1, "1.pdf": 1, "2.pdf": 1}
    assert not any(SECRET in done.stdout + done.stderr for done in (first, again, status, export, dry))
    assert not list(archive.folder.glob("*.db*"))


def test_one_run_at_a_time(archive: Archive, server: Server, ledger: str) -> None:
    """A second run says that the ledger is in use and exits 2; status may look; a killed run holds nothing."""
    manifest = small(archive, "lock")
    environment = {**server.environment, "BULKUP_LEDGER": ledger, "BULKUP_SETTLE": "0.3"}
    server.faults({"kind": "latency", "step": "init", "seconds": 30, "match": "accounts/lock/"})
    first = start("run", manifest, environment=environment, cwd=archive.folder)
    try:
        initiated(ledger)
        second = bulkup("run", manifest, environment=environment, cwd=archive.folder)
        assert second.returncode == 2
        assert second.stderr == (
            "bulkup: postgresql:///postgres: another run is using this ledger; wait for it, or name another\n"
        )
        assert bulkup("status", environment=environment, cwd=archive.folder).returncode == 0
    finally:
        first.kill()
        first.communicate()
        server.faults()
    assert bulkup("run", manifest, environment=environment, cwd=archive.folder).returncode == 0
    assert counts(server, "lock") == {"0.pdf": 1, "1.pdf": 1, "2.pdf": 1}


def test_two_ledgers_of_one_database(archive: Archive, server: Server, ledger: str) -> None:
    """Each schema of a database has its own lock: a run on one does not keep a run on the other waiting."""
    manifest = small(archive, "beside")
    environment = {**server.environment, "BULKUP_LEDGER": ledger}
    with psycopg.connect(ledger) as connection, open_ledger(postgresql.ledger()):
        done = bulkup("run", manifest, environment=environment, cwd=archive.folder)
        assert done.returncode == 0, done.stderr
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (3,)


def test_cells_that_json_can_hold(archive: Archive, server: Server, ledger: str) -> None:
    """Quotes, backslashes, line ends and letters of all planes come back from the ledger as they were given."""
    words = 'a"b\\c\n\t{$[0]} é \u2028 \U0001f4c4'
    archive.add("1.pdf", account_id="cells", provider="lightreach", external_reference=words)
    manifest = archive.manifest()
    environment = {**server.environment, "BULKUP_LEDGER": ledger}
    assert bulkup("run", manifest, environment=environment, cwd=archive.folder).returncode == 0
    with open_ledger(ledger, exclusive=False) as opened:
        (row,) = opened.rows()
    assert row["cells"]["external_reference"] == words


def test_a_bad_row_with_a_nul(archive: Archive, server: Server, ledger: str) -> None:
    """PostgreSQL's texts can't hold one; the row is recorded as failed all the same, and the others are sent."""
    manifest = small(archive, "nul", files=1)
    archive.add("bad.pdf", account_id="nul", provider="lightreach", external_reference="a\0b")
    archive.manifest()
    arguments = ("run", manifest, "--skip-invalid", "--ledger", ledger)
    done = bulkup(*arguments, environment=server.environment, cwd=archive.folder)
    assert done.returncode == 1
    assert "2 rows = 1 completed + 1 failed" in done.stdout
    with open_ledger(ledger, exclusive=False) as opened:
        assert [row["error_code"] for row in opened.rows()] == [None, "invalid_row"]


def test_a_server_that_goes_away(archive: Archive, server: Server, ledger: str) -> None:
    """The run ends with one line and exit code 1; the next one completes all rows, and sends none twice."""
    manifest = small(archive, "gone", files=60)
    environment = {**server.environment, "BULKUP_LEDGER": ledger, "BULKUP_SETTLE": "0.3"}
    server.faults({"kind": "latency", "step": "put", "seconds": 0.5, "match": "gone"})
    run = start("run", manifest, environment=environment, cwd=archive.folder)
    try:
        initiated(ledger)
        with psycopg.connect(ledger, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'bulkup' AND pid <> pg_backend_pid()"
            )
        _, said = run.communicate(timeout=30)
    finally:
        run.kill()
        server.faults()
    assert run.returncode == 1
    assert "Traceback" not in said
    (told,) = [line for line in said.splitlines() if line.startswith("bulkup: ")]
    assert told.startswith("bulkup: postgresql:///postgres: can't write the ledger: ")
    assert bulkup("run", manifest, environment=environment, cwd=archive.folder).returncode == 0
    assert counts(server, "gone") == {f"{number}.pdf": 1 for number in range(60)}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:not-to-be-seen@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x: connection"),
        ("postgresql://u:not-to-be-seen@[::1/x", "the PostgreSQL ledger: the URL makes no sense to PostgreSQL"),
        ("postgresql://u:not-to-be-seen@h/x?nonsense=1", "postgresql://h/x: the URL makes no sense to PostgreSQL"),
        ("mysql://u:not-to-be-seen@h/x", "mysql ledgers are not supported: name a file, or postgresql://HOST/DATABASE"),
    ],
    ids=["no server", "no host", "no option", "no such database"],
)
@pytest.mark.parametrize("command", ["run", "status"])
def test_what_can_not_be_a_ledger(archive: Archive, server: Server, command: str, url: str, told: str) -> None:
    """One line, exit code 2, and no password."""
    arguments = [str(small(archive, "bad"))] if command == "run" else []
    done = bulkup(command, *arguments, "--ledger", url, environment=server.environment, cwd=archive.folder)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bulkup: {told}")
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:secret@h:5432/x?sslmode=require", "postgresql://h:5432/x"),
        ("postgres://u:secret:more@[::1]:5/x", "postgresql://[::1]:5/x"),
        ("postgresql://a,b:5/x", "postgresql://a,b:5/x"),
        ("postgresql:///x?host=/run", "postgresql:///x"),
        ("postgresql://u@h/x?password=sec@ret", "postgresql://h/x"),
    ],
)
def test_a_ledger_s_name(url: str, name: str) -> None:
    """It is the server and the database."""
    assert str(located(url)) == located(url).where == name
    assert "sec" not in repr(located(url))


@pytest.mark.parametrize("password", ["sec/ret", "sec?ret", "sec#ret", "sec@ret", "123?ret", "[sec"])
def test_a_password_that_is_not_encoded(password: str) -> None:
    """What can't be told from a password is not shown, wherever it ends."""
    for url in (f"postgresql://u:{password}@h/x", f"postgresql:/u:{password}@h/x", f"postgresql://h/x?p={password}@h"):
        assert not any(part in str(located(url)) for part in ("sec", "ret", "123"))


def test_a_database_that_is_somebody_else_s(archive: Archive, server: Server, ledger: str) -> None:
    """Other tables may stand beside the ledger's; a table of one of its names is left alone."""
    manifest = small(archive, "shared")
    environment = {**server.environment, "BULKUP_LEDGER": ledger}
    with psycopg.connect(ledger, autocommit=True) as connection:
        connection.execute("CREATE TABLE customers (id int)")
        connection.execute("CREATE TABLE documents (id int)")
        refused = bulkup("run", manifest, environment=environment, cwd=archive.folder)
        assert (refused.returncode, refused.stderr) == (
            2,
            "bulkup: postgresql:///postgres: is not a ledger of bulkup\n",
        )
        connection.execute("DROP TABLE documents")
    assert bulkup("run", manifest, environment=environment, cwd=archive.folder).returncode == 0


def test_without_the_driver(tmp_path: Path, ledger: str) -> None:
    """The message says which extra to install."""
    program = "import sys; sys.modules['psycopg'] = None; from bulkup.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "status", "--ledger", ledger],
        env=clean_environment({}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "bulkup: postgresql:///postgres: needs the extra 'postgresql': pip install 'bulkup[postgresql]'\n"
    )
