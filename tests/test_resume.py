"""What an earlier run left half-way: asked about, and sent again only on the vendor's positive word."""

from __future__ import annotations

import asyncio
import os

import pytest

import bulkup
from bulkup.events import DocumentEnded
from bulkup.model import State
from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox
from tests.conftest import Archive, login

BEFORE_STORED = "state = 'initiated', document_id = NULL, stored_at = NULL, finished_at = NULL"
BEFORE_COMPLETED = "state = 'stored', document_id = NULL, finished_at = NULL"
BEFORE_ANSWERED = "state = 'initiated', job_id = NULL, document_id = NULL, stored_at = NULL, finished_at = NULL"


def faults(*rules: dict[str, object]) -> Faults:
    """A plan of these rules."""
    return Faults(rules=tuple(Rule.model_validate(rule) for rule in rules))


def rewind(archive: Archive, columns: str, where: str = "1 = 1") -> None:
    """Put rows back to where a kill would have left them."""
    archive.sql(f"UPDATE documents SET {columns} WHERE {where}")  # noqa: S608 - the test's own words


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
        assert "can't ask" in archive.notices()[-1]
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
        with pytest.raises(bulkup.ManifestError, match=r"row 1: column 'key': was sent to 'account:A-1'"):
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


async def test_a_silent_stream_is_polled_at_the_deadline(archive: Archive) -> None:
    """A proxy that holds the stream back does not make a finished job unknown."""
    archive.add("a.pdf")
    async with Sandbox(faults=faults({"kind": "stall", "step": "stream", "events": 0})) as sandbox:
        assert (await archive.upload(sandbox, job_timeout=0.5)).completed == 1
        assert sandbox.requests["lightreach", "job"] == 1


async def test_a_failed_check_is_never_a_completion(archive: Archive) -> None:
    """A document whose hash was wrong stays a failure when its file is missing in the next runs."""
    path = archive.add("a.pdf")
    async with Sandbox(faults=faults({"kind": "wrong_hash"})) as sandbox:
        await archive.upload(sandbox)
        path.unlink()
        for _ in range(2):
            assert (await archive.upload(sandbox)).failed == 1


async def test_one_bad_file_does_not_fail_its_batch_for_ever(archive: Archive) -> None:
    """Rows of a failed job go one by one in the next run, and all but the culprit complete."""
    for number in range(24):
        archive.add(f"{number}.pdf")
    archive.add("poison.pdf")
    async with Sandbox(faults=faults({"kind": "job_failed", "match": "poison", "message": "virus"})) as sandbox:
        assert (await archive.upload(sandbox)).failed == 25
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (24, 1)
        assert len(sandbox.lightreach.documents) == 24


@pytest.mark.parametrize("columns", ["state = 'initiated', document_id = NULL", "state = 'stored', document_id = NULL"])
async def test_v1_is_found_by_its_list_though_it_keeps_no_reference(archive: Archive, columns: str) -> None:
    """A killed multipart upload is not repeated because the vendor does not return the reference."""
    archive.add("a.pdf", external_reference="r")
    async with Sandbox(options=LightReachOptions(signed_urls=False)) as sandbox:
        await archive.upload(sandbox)
        rewind(archive, columns)
        assert (await archive.upload(sandbox)).completed == 1
        assert len(sandbox.lightreach.documents) == 1


async def test_a_stores_long_retry_after_stops_the_vendor(archive: Archive) -> None:
    """A store that asks for an hour fails what was told so, and leaves the rest pending."""
    for number in range(60):
        archive.add(f"{number}.pdf", external_reference=str(number))
    plan = faults({"kind": "status", "step": "put", "status": 503, "retry_after": 3600, "times": 1})
    async with Sandbox(faults=plan) as sandbox:
        summary = await archive.upload(sandbox, concurrency=4, settle=0)
        assert summary.failed <= 1
        assert summary.pending >= 40
        assert sandbox.requests["lightreach", "init"] < 20


async def test_probes_share_one_login(archive: Archive) -> None:
    """Forty jobs in doubt are asked about with one token."""
    for number in range(40):
        archive.add(f"{number}.pdf", external_reference=str(number))
    options = LightReachOptions()
    async with Sandbox(options=options) as sandbox:
        await archive.upload(sandbox)
        rewind(archive, BEFORE_STORED)
        summary = await archive.upload(sandbox, environment=login(sandbox, options))
        assert (summary.completed, sandbox.requests["lightreach", "login"]) == (40, 1)


async def test_a_reconciled_group_is_told_of_once(archive: Archive) -> None:
    """Each page of a group that asking completed is told of as completed, and not as skipped after that."""
    for number in range(2):
        archive.add(f"{number}.png", group="scan")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, BEFORE_COMPLETED)
        await archive.upload(sandbox)
    told = [(event.row, event.state) for event in archive.events if isinstance(event, DocumentEnded)]
    assert sorted(told) == [(1, "completed"), (2, "completed")]


async def test_a_page_added_to_a_reconciled_group_goes_with_it(archive: Archive) -> None:
    """A group is one document, also when its other pages were completed by asking."""
    for number in range(2):
        archive.add(f"{number}.png", group="scan")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, BEFORE_STORED)
        archive.add("2.png", group="scan")
        assert (await archive.upload(sandbox)).completed == 3
        assert len(sandbox.lightreach.documents[-1].files) == 3


async def test_a_changed_file_under_a_kept_key_has_its_new_name(archive: Archive) -> None:
    """The same key with another file uploads that file under its own name."""
    archive.add("a.pdf", key="K")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        archive.rows.clear()
        archive.add("b.png", b"other", key="K")
        assert (await archive.upload(sandbox)).completed == 1
        assert sandbox.lightreach.documents[-1].files[0].name == "b.png"


async def test_cancelling_an_upload_leaves_a_true_ledger(archive: Archive) -> None:
    """An application may cancel `upload` at any moment: the next one completes each row once."""
    for number in range(200):
        archive.add(f"{number}.pdf", external_reference=str(number))
    async with Sandbox() as sandbox:
        for milliseconds in (1, 5, 20, 50, 100, 200, 300):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(milliseconds / 1000):
                    await archive.upload(sandbox, concurrency=2)
        summary = await archive.upload(sandbox)
        assert summary.completed + summary.skipped == 200
        assert len(sandbox.lightreach.documents) == 200
