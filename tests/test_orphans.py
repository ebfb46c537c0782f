"""``bulkup orphans``: records that a vendor made and that never got their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Archive
from tests.process import Server, bulkup, serving
from tests.vendors import CASES

BY_ID = {case.id: case for case in CASES}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One sandbox."""
    with serving() as server:
        yield server


def records(server: Server, folder: Path, *arguments: str) -> list[tuple[str, str, str]]:
    """What ``bulkup orphans --json`` lists."""
    done = bulkup("orphans", "--json", *arguments, environment=server.environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(each["provider"], each["record"], each["fate"]) for each in found]


def test_listed_and_archived(archive: Archive, server: Server) -> None:
    """A record whose URL expired, and that could not be archived then, is listed, and archived when it is asked for."""
    archive.add("a.pdf", b"%PDF-1.7", **BY_ID["loanpro"].row(0))
    archive.add("b.pdf", b"%PDF-1.7", **BY_ID["kompliant"].row(0))
    server.faults(
        {"kind": "expired_url", "times": 1, "vendor": "loanpro"},
        {"kind": "expired_url", "times": 1, "vendor": "kompliant"},
        {"kind": "status", "step": "update", "status": 409},
    )
    done = bulkup("run", archive.manifest(), environment=server.environment, cwd=archive.folder)
    assert done.returncode == 0, done.stderr
    server.faults()
    first = next(record for record in server.state()["loanpro"]["documents"])
    left = server.state()["kompliant"]["documents"][0]
    assert records(server, archive.folder) == [("loanpro", first["id"], "left"), ("kompliant", left["id"], "left")]
    after = [("loanpro", first["id"], "archived"), ("kompliant", left["id"], "left")]
    assert records(server, archive.folder, "--archive") == after
    assert next(r for r in server.state()["loanpro"]["documents"] if r["id"] == first["id"])["archived"] == 1
    done = bulkup("orphans", "--archive", environment=server.environment, cwd=archive.folder)
    assert done.stderr == f"record {left['id']}: kompliant has no way to archive a document\n"
    assert f"loanpro loan:100: record {first['id']} of row 1 ('a.pdf'): archived\n" in done.stdout
