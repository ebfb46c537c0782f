"""--private-names: nothing of a row but its number gets out, whatever goes wrong."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

import bulkup
from bulkup.ledgers import open_ledger
from bulkup.sandbox import Faults, Rule, Sandbox
from tests.conftest import Archive
from tests.process import Server, clean_environment, serving
from tests.process import bulkup as command
from tests.vendors import CASES

BY_ID = {case.id: case for case in CASES}
MARK = "Zebra"
"""In every name and cell of these tests' rows, if not a number."""
NUMBERS = ("8815001", "8815002")


def named(provider: str, number: int) -> dict[str, str]:
    """A row whose cells all carry the mark."""
    signers = json.dumps([{"name": f"{MARK} {number}", "email": f"{MARK}{number}@example.com"}])
    return {
        "lightreach": {"account_id": f"{MARK}-{number}", "type": "utilityBill", "external_reference": f"{MARK} ref"},
        "loanpro": {"section_id": "7", "loan_id": NUMBERS[number % 2], "description": f"{MARK}'s loan"},
        "alloy": {"entity_token": f"P-{MARK}", "type": "contract", "note": f"about {MARK}"},
        "kompliant": {"subject_record_id": f"sr_{MARK}"},
        "auco": {
            "email": f"{MARK}@example.com",
            "name": f"{MARK} contract",
            "subject": f"To {MARK}",
            "message": f"Dear {MARK}",
            "sign_profile": signers,
        },
    }[provider] | {"provider": provider}


VENDORS = ("lightreach", "loanpro", "alloy", "kompliant", "auco")


def fill(archive: Archive, rows: int = 2) -> None:
    """Good rows of all vendors, a missing file, an empty one and one that is no PDF, keys of their own among them."""
    for provider in VENDORS:
        for number in range(rows):
            name = f"{MARK} {provider}/{MARK} {number}.pdf"
            archive.add(name, b"%PDF-1.7 " + name.encode(), **named(provider, number), key=f"{MARK}:{provider}{number}")
        archive.row(f"{MARK} {provider}/missing {MARK}.pdf", **named(provider, 1))
    archive.add(f"{MARK} empty.pdf", b"", **named("alloy", 1))
    archive.add(f"{MARK} text.pdf", b"text", **named("auco", 1))


def hidden(text: str) -> None:
    """Nothing of a row is in it."""
    for word in (MARK, MARK.lower(), *NUMBERS):
        assert word not in text, text


QUOTING = [
    Rule(kind="status", step=step, status=status, message=f"the file {MARK} 1.pdf of {NUMBERS[0]} is refused")
    for step, status in (("init", 404), ("init", 503), ("put", 403), ("form", 500), ("*", 401), ("stream", 500))
]


@pytest.mark.parametrize("rule", [None, *QUOTING], ids=lambda rule: rule and f"{rule.step}-{rule.status}")
async def test_no_event_and_no_log_names_a_row(
    archive: Archive, rule: Rule | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where vendors quote it in their errors; state, stage, code and number stay, and the ledger has all."""
    fill(archive)
    caplog.set_level(logging.DEBUG)
    async with Sandbox(faults=Faults(rules=(rule,) if rule else ())) as sandbox:
        summary = await archive.upload(sandbox, private_names=True, retry_for=0.2, allow_empty=False)
        logged = [record for record in caplog.records if record.name.startswith("bulkup.")]
        hidden("\n".join(map(repr, archive.events)) + "\n".join(record.getMessage() for record in logged))
        assert {record.name for record in logged} >= {"bulkup.api"}
        ends, rows = archive.ended(), archive.ledger_rows()
        ended = summary.rows - summary.pending
        assert len(ends) == ended >= 7
        assert all(end.filename == "***" and end.key.startswith("private:") for end in ends.values())
        assert len({end.key for end in ends.values()}) == ended
        for row in rows:
            if row["row"] in ends:
                end = ends[row["row"]]
                assert (end.state, end.stage, end.error_code) == (row["state"], row["stage"], row["error_code"])
                assert (end.error is None) == (row["error"] is None)
        assert MARK in json.dumps([row["error"] for row in rows])
        before = {number: end.key for number, end in ends.items()}
        sandbox.faults = Faults()
        await archive.upload(sandbox, private_names=True)
        hidden("\n".join(map(repr, archive.events)))
        after = {number: end.key for number, end in archive.ended().items()}
        assert before.items() <= after.items()  # the same from run to run


async def test_another_ledger_has_other_names(archive: Archive) -> None:
    """Whoever guesses a key can't see whether it is that of a row."""
    archive.add("a.pdf", key="4711")
    keys = set()
    async with Sandbox() as sandbox:
        for _ in range(2):
            await archive.upload(sandbox, private_names=True)
            keys.add(archive.ended()[1].key)
            archive.forget()
        await archive.upload(sandbox)
        assert archive.ended()[1].key == "4711"  # the default tells it
    assert len(keys) == 2
    with open_ledger(archive.ledger, exclusive=False) as ledger:
        assert ledger.secret() == ledger.secret()


async def test_what_a_downloading_client_logs(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    """Paths of calls carry the ids of containers: they are withheld, also for `bulkup.connect`."""
    archive.add("a.pdf", **named("alloy", 0))
    async with Sandbox() as sandbox:
        await archive.upload(sandbox, private_names=True)
        caplog.set_level(logging.DEBUG)
        for private in (True, False):
            caplog.clear()
            async with bulkup.connect("alloy", environment=sandbox.environment(), private_names=private) as client:
                assert len(await client.list_documents(f"entity:P-{MARK}")) == 1
            logged = "".join(record.getMessage() for record in caplog.records if record.name == "bulkup.api")
            assert (MARK in logged) is not private
            assert logged


BAD = {
    "header.csv": f"{MARK} 1.pdf,{MARK}-acct,utilityBill\n{MARK} 2.pdf,{MARK}-acct,contract\n",
    "cells.csv": "path,provider,account_id,type,loan_id,extension,entity_token,email,name,subject,message,"
    "sign_profile\n"
    f"a.pdf,{MARK},,,,,,,,,,\n"
    f"{MARK}/,lightreach,{MARK},,,,,,,,,\n"
    f"a.pdf,lightreach,{MARK},utilityBill,{MARK},,,,,,,\n"
    f"a.pdf,alloy,,{MARK},,.{MARK},P-1,,,,,\n"
    f'a.pdf,auco,,,,,,{MARK},x,x,x,"[{{""{MARK}"": 1, ""emial"": ""{MARK}""}}]"\n'
    f"b.pdf,auco,,,,,,{MARK}@x,x,x,x,{MARK}\n",
    "rows.jsonl": f'{{"path": "{MARK}.pdf", "provider": "lightreach", "account_id": ["{MARK}"], "{MARK}": "{MARK}"}}\n'
    f'{{"path": "a.pdf", "provider": "lightreach", "account_id": "{MARK}", "type": "x"}}\n' * 2 + f'{{"{MARK}\n',
}


@pytest.mark.parametrize("name", BAD)
async def test_no_complaint_names_a_row(archive: Archive, name: str) -> None:
    """What is wrong is said by row and column; cells, and what a missing header makes of them, are not shown."""
    manifest = archive.folder / name
    manifest.write_text(BAD[name])
    async with Sandbox() as sandbox:
        with pytest.raises(bulkup.ManifestError) as caught:
            await archive.upload(sandbox, manifest, provider=None, private_names=True)
        hidden(str(caught.value) + repr(caught.value.complaints))
        private = caught.value.complaints
        with pytest.raises(bulkup.ManifestError) as caught:
            await archive.upload(sandbox, manifest, provider=None)
    assert MARK in str(caught.value)
    assert [(each.row, each.line) for each in private] == [(each.row, each.line) for each in caught.value.complaints]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A sandbox that quotes a file's name in its refusals."""
    with serving() as server:
        server.faults({"kind": "status", "step": "put", "status": 403, "message": f"no {MARK} 1.pdf", "match": " 1"})
        yield server


@pytest.mark.parametrize("by", ["option", "environment"])
def test_no_output_of_the_command_names_a_row(archive: Archive, server: Server, by: str) -> None:
    """-vv, --json, progress, complaints and the summary: nothing but numbers, whichever way it is switched on."""
    fill(archive)
    archive.row(f"{MARK}.pdf", provider=MARK)
    archive.row(f"{MARK}.pdf", provider="kompliant", subject_record_id=f"sr_{MARK}", account_id=MARK)
    arguments = ["run", archive.manifest().name, "-vv", "--json", "--skip-invalid", "--retry-for", "0.2"]
    if by == "option":
        done = command(*arguments, "--private-names", environment=server.environment, cwd=archive.folder)
    else:
        environment = {**server.environment, "BULKUP_PRIVATE_NAMES": "1"}
        done = command(*arguments, environment=environment, cwd=archive.folder)
    assert done.returncode in {1, 3}
    hidden(done.stdout + done.stderr)
    assert "row 3 ('***'): failed at preflight: file_missing: withheld (--private-names)" in done.stderr
    assert "manifest.csv: row 18 (line 19): column 'provider': is no provider" in done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["row"] for event in events[:-1]} == set(range(1, 20))
    told = command(*arguments, environment=server.environment, cwd=archive.folder)
    assert MARK in told.stdout
    assert MARK in told.stderr


def run_broken(archive: Archive, server: Server, patch: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with a defect in it, and asyncio talking about all it does."""
    code = f"import bulkup.cli, bulkup.lane, logging\n{patch}\nbulkup.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, "run", archive.manifest(), "-vv", *arguments],
        env=clean_environment({**server.environment, "PYTHONASYNCIODEBUG": "1"}),
        cwd=archive.folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


RAISING = f"""
async def send(self, batch):
    raise ValueError(f"{MARK} {{batch}}")
bulkup.lane.Lane.send = send
"""
UNHEARD = f"""
from bulkup.lane import Lane
import asyncio, gc
whole = Lane.send
async def send(self, batch):
    async def lost():
        raise ValueError(f"{MARK} {{batch}}")
    task = asyncio.get_running_loop().create_task(lost())
    await asyncio.sleep(0)
    del task
    gc.collect()
    await whole(self, batch)
Lane.send = send
"""


@pytest.mark.parametrize(("patch", "said"), [(RAISING, "ValueError"), (UNHEARD, "a message of asyncio")])
def test_no_traceback_names_a_row(archive: Archive, server: Server, patch: str, said: str) -> None:
    """A defect shows where it is, without what its objects hold; nor do asyncio's own complaints."""
    archive.add(f"{MARK}.pdf", **named("lightreach", 0))
    shown = run_broken(archive, server, patch)
    assert MARK in shown.stderr
    archive.forget()
    done = run_broken(archive, server, patch, "--private-names")
    hidden(done.stdout + done.stderr.replace(f'raise ValueError(f"{MARK}', ""))
    assert said in done.stderr
    assert "withheld (--private-names)" in done.stderr
