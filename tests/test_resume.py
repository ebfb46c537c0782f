"""What an earlier run left half-way: asked about, and sent again only on the vendor's positive word."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

import bulkup
from bulkup.model import State
from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox
from tests.conftest import Archive

BEFORE_STORED = "state = 'initiated', document_id = NULL, stored_at = NULL, finished_at = NULL"
BEFORE_COMPLETED = "state = 'stored', document_id = NULL, finished_at = NULL"
BEFORE_ANSWERED = "state = 'initiated', job_id = NULL, document_id = NULL, stored_at = NULL, finished_at = NULL"


def faults(*rules: dict[str, object]) -> Faults:
    """A plan of these rules."""
    return Faults(rules=tuple(Rule.model_validate(rule) for rule in rules))


def rewind(archive: Archive, columns: str, where: str = "1") -> None:
    """Put rows back to where a kill would have left them."""
    with closing(sqlite3.connect(archive.ledger)) as database:
        database.execute(f"UPDATE documents SET {columns} WHERE {where}")  # noqa: S608 - the test's own words
        database.commit()


@pytest.mark.parametrize("columns", [BEFORE_STORED, BEFORE_COMPLETED])
async def test_what_the_vendor_has_is_completed(archive: Archive, columns: str) -> None:
    """Killed after the bytes landed: the job tells, the document id is known, nothing is sent."""
    for number in range(30):
        archive.add(f"{number}.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        ids = {row["row"]: row["document_id"] for row in archive.ledger_rows()}
        rewind(archive, columns)
        before = sandbox.requests["lightreach", "init"], sandbox.requests["lightreach", "put"]
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.exit_code) == (30, 0)
        assert {row["row"]: row["document_id"] for row in archive.ledger_rows()} == ids
        assert (sandbox.requests["lightreach", "init"], sandbox.requests["lightreach", "put"]) == before


async def test_what_left_nothing_is_sent_again(archive: Archive) -> None:
    """Killed before the init was answered: no bytes were sent, so the rows go again, each once."""
    for number in range(30):
        archive.add(f"{number}.pdf")
    async with Sandbox() as sandbox:
        archive.manifest()
        await archive.upload(sandbox)
    rewind(archive, BEFORE_ANSWERED)
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox)).completed == 30
        assert len(sandbox.lightreach.documents) == 30


async def test_a_job_without_its_bytes_is_given_up(archive: Archive) -> None:
    """Killed before the bytes were sent: the job still waits after the settle time, so the row goes again."""
    archive.add("a.pdf")
    async with Sandbox(faults=faults({"kind": "reset_mid", "step": "put"})) as sandbox:
        await archive.upload(sandbox)
        rewind(archive, "state = 'initiated'")
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).completed == 1
        assert len(sandbox.lightreach.documents) == 1


@pytest.mark.parametrize("settle", [0, 2])
async def test_a_silent_stream_is_no_word(archive: Archive, settle: float) -> None:
    """A proxy that holds the stream back does not make a completed job look open."""
    archive.add("a.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, BEFORE_STORED)
        sandbox.faults = faults({"kind": "stall", "step": "stream", "events": 0})
        assert (await archive.upload(sandbox, settle=settle)).completed == 1
        assert len(sandbox.lightreach.documents) == 1


async def test_what_cannot_be_asked_about_stays(archive: Archive) -> None:
    """While the vendor does not answer, rows stay as they are; when it does, they complete without being sent."""
    archive.add("a.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, BEFORE_STORED)
        sandbox.faults = faults({"kind": "status", "step": "job", "status": 503})
        summary = await archive.upload(sandbox, settle=0)
        assert (summary.pending, summary.exit_code) == (1, 1)
        assert "can't ask" in archive.notices()[0]
        assert [row["state"] for row in archive.ledger_rows()] == ["initiated"]
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).completed == 1
        assert len(sandbox.lightreach.documents) == 1


async def test_a_job_the_vendor_does_not_know_is_looked_for_in_the_list(archive: Archive) -> None:
    """404 for the job: documents of the account are compared by name, type, reference and hash."""
    archive.add("a.pdf", b"same", external_reference="r")
    archive.add("b/a.pdf", b"same", external_reference="r")
    archive.add("c.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        documents = [row["document_id"] for row in archive.ledger_rows()]
        rewind(archive, BEFORE_COMPLETED, "row <> 2")
        sandbox.faults = faults({"kind": "status", "step": "job", "status": 404})
        rewind(archive, BEFORE_STORED, "row <> 2")
        summary = await archive.upload(sandbox, settle=0)
        assert (summary.completed, summary.skipped) == (2, 1)
        assert [row["document_id"] for row in archive.ledger_rows()] == documents
        assert sandbox.requests["lightreach", "init"] == 2


async def test_lost_answers_to_a_transfer_are_asked_about_first(archive: Archive) -> None:
    """The bytes landed though no answer came: the job completes, and nothing of the batch is sent twice."""
    for number in range(6):
        archive.add(f"{number}.pdf")
    async with Sandbox(faults=faults({"kind": "reset_after", "step": "put", "after": 5})) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.exit_code) == (6, 0)
        assert len(sandbox.lightreach.documents) == 6
        assert sandbox.requests["lightreach", "init"] == 1


async def test_retry_unknown_asks_first(archive: Archive) -> None:
    """A job that ended late is found before anything is sent again."""
    archive.add("a.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, "state = 'unknown', document_id = NULL")
        summary = await archive.upload(sandbox, retry_unknown=True)
        assert (summary.completed, len(sandbox.lightreach.documents)) == (1, 1)


async def test_a_job_that_names_too_few_documents(archive: Archive) -> None:
    """A row without a document is unknown, and never takes another row's."""
    for number in range(3):
        archive.add(f"{number}.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        (job,) = sandbox.lightreach.jobs.values()
        job.documents.pop()
        rewind(archive, BEFORE_COMPLETED)
        for _ in range(2):
            assert (await archive.upload(sandbox)).unknown == 1
        assert sum(row["state"] == State.UNKNOWN for row in archive.ledger_rows()) == 1
        assert sandbox.requests["lightreach", "init"] == 1


async def test_a_completed_row_survives_a_bad_night_of_its_file(archive: Archive) -> None:
    """Empty for one run and then as before: what was completed is still known, and nothing is sent."""
    path = archive.add("a.pdf", b"first")
    before = path.stat()
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        path.write_bytes(b"")
        assert (await archive.upload(sandbox)).failed == 1
        path.write_bytes(b"first")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        summary = await archive.upload(sandbox)
        assert (summary.skipped, len(sandbox.lightreach.documents)) == (1, 1)
        assert archive.ledger_rows()[0]["error_code"] is None


async def test_a_key_is_one_documents_identity(archive: Archive) -> None:
    """A key that was sent to one account can't be given to a row of another."""
    archive.add("a.pdf", key="K1")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        archive.rows[0]["account_id"] = "A-2"
        with pytest.raises(bulkup.ManifestError, match=r"row 1: column 'key': was sent to account:A-1"):
            await archive.upload(sandbox)


async def test_a_group_with_a_bad_row_is_not_sent_without_it(archive: Archive) -> None:
    """--skip-invalid leaves out the whole group, and tells of each of its rows."""
    archive.add("1.png", group="scan")
    archive.add("2.png", group="scan", filename="a/b")
    archive.add("3.png", group="scan")
    archive.add("4.png")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox, skip_invalid=True)
        assert (summary.completed, summary.failed) == (1, 3)
        assert {row: end.stage for row, end in archive.ended().items() if end.stage} == dict.fromkeys(
            (1, 2, 3), "manifest"
        )
        assert len(sandbox.lightreach.documents) == 1


async def test_documents_that_failed_their_check_stay_in_the_history(archive: Archive) -> None:
    """Each document that the vendor made for a row is known by its id."""
    archive.add("a.pdf")
    async with Sandbox(faults=faults({"kind": "wrong_hash"})) as sandbox:
        for _ in range(3):
            await archive.upload(sandbox)
        ids = [document.id for document in sandbox.lightreach.documents]
        assert [*archive.former_ids(), archive.ledger_rows()[0]["document_id"]] == ids


async def test_completed_counts_this_run_alone(archive: Archive) -> None:
    """What an earlier run completed is skipped, also when this run stops before it looks at it."""
    for number in range(30):
        archive.add(f"{number}.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, "state = 'pending', document_id = NULL", "row = 30")
        environment = sandbox.environment() | {"BULKUP_LIGHTREACH_TOKEN": "wrong"}
        summary = await archive.upload(sandbox, environment=environment)
        assert (summary.completed, summary.skipped, summary.failed) == (0, 29, 1)


async def test_a_short_lived_token_is_not_renewed_for_every_call(archive: Archive) -> None:
    """A token that lives for less than a minute is renewed at half its life."""
    for number in range(20):
        archive.add(f"{number}.pdf", external_reference=str(number))
    options = LightReachOptions(token_life=50)
    async with Sandbox(options=options) as sandbox:
        summary = await archive.upload(sandbox, environment=login(sandbox, options))
        assert summary.completed == 20
        assert sandbox.requests["lightreach", "login"] == 1


async def test_v1_renews_its_token(archive: Archive) -> None:
    """A 401 of a multipart upload proves that nothing happened: one new login, and again."""
    for number in range(3):
        archive.add(f"{number}.pdf")
    options = LightReachOptions(signed_urls=False)
    plan = faults({"kind": "status", "step": "v1", "status": 401, "times": 1})
    async with Sandbox(options=options, faults=plan) as sandbox:
        assert (await archive.upload(sandbox, environment=login(sandbox, options))).completed == 3


async def test_a_login_that_fails_fails_for_all(archive: Archive) -> None:
    """A login that was refused is not tried again by every worker; the run stops, and the rest stays pending."""
    for number in range(40):
        archive.add(f"{number}.pdf", external_reference=str(number))
    options = LightReachOptions()
    async with Sandbox(options=options, faults=faults({"kind": "status", "step": "login", "status": 403})) as sandbox:
        summary = await archive.upload(sandbox, environment=login(sandbox, options))
        assert summary.failed + summary.pending == 40
        assert {end.error_code for end in archive.ended().values()} == {"unauthorized"}
        assert sandbox.requests["lightreach", "login"] == 1


def login(sandbox: Sandbox, options: LightReachOptions) -> dict[str, str]:
    """An environment with a user instead of a token."""
    return {
        "BULKUP_LIGHTREACH_BASE_URL": f"{sandbox.url}/lightreach",
        "BULKUP_LIGHTREACH_USERNAME": options.username,
        "BULKUP_LIGHTREACH_PASSWORD": options.password,
    }
