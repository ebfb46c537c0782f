"""What becomes of an upload to Kompliant: status, hash, every case of doubt, and the end of its form."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
import pytest

from bulkup.providers.kompliant import Kompliant
from bulkup.providers.kompliant_envelope import digest
from bulkup.providers.kompliant_progress import Progress, progress
from bulkup.sandbox import Faults, KompliantOptions, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.kompliant import CONTENT, LARGE, Client, add, count, ended, failing, held, run

# --- status and hash --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["hex", "base64"])
async def test_the_hash_is_compared(archive: Archive, encoding: str) -> None:
    """In either encoding; one that differs fails the row, and the next run makes a new record."""
    paths = [add(archive), add(archive, "large.pdf", LARGE)]
    options = KompliantOptions.model_validate({"hash_encoding": encoding})
    async with Sandbox(options=options, faults=Faults(rules=(Rule(kind="wrong_hash"),))) as sandbox:
        assert (await run(archive, sandbox)).failed == 2
        for row, path in enumerate(paths, 1):
            end = archive.ended()[row]
            assert (end.stage, end.error_code) == ("confirm", "hash_mismatch")
            assert sha256(path) in (end.error or "")
        former = [row["document_id"] for row in archive.ledger_rows()]
        sandbox.faults = Faults()
        assert (await run(archive, sandbox)).completed == 2
        rows = archive.ledger_rows()
        assert [row["sha256"] for row in rows] == [sha256(path) for path in paths]
        assert archive.former_ids() == former
        assert {row["document_id"] for row in rows}.isdisjoint(former)


def test_digest() -> None:
    """A SHA-256 in either case of hexadecimal, or in either base64, with or without padding; else none."""
    raw = bytes(range(224, 256))
    text = "4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8="
    for given in (raw.hex(), raw.hex().upper(), text, text.rstrip("="), text.replace("+", "-").replace("/", "_")):
        assert digest(given) == raw.hex()
    others = (None, "", "abc", raw.hex()[:-2], raw.hex() + "00", text[:-3], "sha256", "ü" * 44)
    assert [digest(given) for given in others] == [None] * len(others)


async def test_without_a_hash_the_size_is_compared(archive: Archive) -> None:
    """A vendor that reports no hash is believed by its word and its size."""
    add(archive)
    add(archive, "b.pdf")
    never = Faults(rules=(Rule(kind="job_never", match="b.pdf"),))
    async with Sandbox(options=KompliantOptions(hash_encoding="none"), faults=never) as sandbox:
        assert (await run(archive, sandbox, job_timeout=0.3)).completed == 1
        document = next(each for each in sandbox.kompliant.documents if each.name == "b.pdf")
        document.status, document.size = "UPLOADED", len(CONTENT) - 1
        await run(archive, sandbox)
        end = archive.ended()[2]
        assert (end.state, end.stage, end.error_code) == ("failed", "confirm", "size_mismatch")
        assert end.error == "the vendor reports 15 bytes, sent were 16"


async def test_the_status_is_waited_for(archive: Archive) -> None:
    """Pending after the 204, then final: the record is asked until then."""
    add(archive)
    async with Sandbox(options=KompliantOptions(status_delay=0.3)) as sandbox:
        assert (await run(archive, sandbox)).completed == 1
        assert count(sandbox, "get") > 1
        assert (count(sandbox, "init"), count(sandbox, "form"), count(sandbox, "list")) == (1, 1, 0)


async def test_an_upload_that_failed(archive: Archive) -> None:
    """A word of failure fails the row at ``confirm`` with that word; the next run makes a new record."""
    add(archive, content=b"GIF89a")
    async with Sandbox(options=KompliantOptions(check_type=True)) as sandbox:
        assert (await run(archive, sandbox)).failed == 1
        end = ended(archive)
        assert (end.stage, end.error_code, end.error) == ("confirm", "upload_failed", "upload_status is FAILED")
        add(archive)
        archive.rows.pop()
        assert (await run(archive, sandbox)).completed == 1
        assert count(sandbox, "init") == 2


async def test_an_upload_that_never_ends(archive: Archive) -> None:
    """Past ``--job-timeout`` the row is unknown; each run asks again, and sends nothing, until the vendor tells."""
    add(archive)
    async with Sandbox(faults=Faults(rules=(Rule(kind="job_never"),))) as sandbox:
        assert (await run(archive, sandbox, job_timeout=0.3)).unknown == 1
        assert (ended(archive).stage, ended(archive).error_code) == ("confirm", "job_timeout")
        assert (await run(archive, sandbox, job_timeout=0.3)).unknown == 1
        assert (count(sandbox, "init"), count(sandbox, "form")) == (1, 1)
        document = sandbox.kompliant.documents[0]
        document.status = "UPLOADED"
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "init"), count(sandbox, "form")) == (1, 1)


async def test_an_upload_that_fails_after_the_deadline(archive: Archive) -> None:
    """An unknown row is failed once the vendor says so."""
    add(archive)
    async with Sandbox(faults=Faults(rules=(Rule(kind="job_never"),))) as sandbox:
        assert (await run(archive, sandbox, job_timeout=0.3)).unknown == 1
        sandbox.kompliant.documents[0].status = "REJECTED"
        assert (await run(archive, sandbox)).failed == 1
        assert (ended(archive).error_code, ended(archive).error) == ("upload_failed", "upload_status is REJECTED")


WORDS = KompliantOptions(pending="Waiting here", uploaded="Taken", failed="Spoilt", hash_encoding="none")


@pytest.mark.parametrize(
    ("settings", "state", "code"),
    [
        ({"UPLOADED_STATUSES": "x, taken", "PENDING_STATUSES": "waiting-here"}, "completed", None),
        ({"FAILED_STATUSES": "TAKEN", "PENDING_STATUSES": "WAITING_HERE"}, "failed", "upload_failed"),
        ({"PENDING_STATUSES": "WAITING_HERE,TAKEN"}, "unknown", "job_timeout"),
        ({}, "unknown", "job_timeout"),
    ],
)
async def test_the_words_are_settings(archive: Archive, settings: dict[str, str], state: str, code: str | None) -> None:
    """The vendor's words are not published: each list is a setting, in any case of letters."""
    add(archive)
    async with Sandbox(options=WORDS) as sandbox:
        await run(archive, sandbox, settings, job_timeout=0.4)
        assert (ended(archive).state, ended(archive).error_code) == (state, code)


async def test_a_word_of_no_list_is_uploaded_once_there_is_a_hash(archive: Archive) -> None:
    """Since a hash takes the bytes."""
    add(archive)
    async with Sandbox(options=KompliantOptions(pending="Waiting here", uploaded="Taken")) as sandbox:
        assert (await run(archive, sandbox)).completed == 1


@pytest.mark.parametrize(
    ("status", "hash_", "expected"),
    [
        ("uploaded", None, Progress.DONE),
        ("Upload complete", None, Progress.DONE),
        ("scanning", "x", Progress.CAME),
        ("Pending-Upload", "x", Progress.WAITS),
        ("EXPIRED", None, Progress.WAITS),
        ("Rejected", "x", Progress.FAILED),
        ("LIMBO", "x", Progress.DONE),
        ("LIMBO", "", Progress.UNCLEAR),
        ("", None, Progress.WAITS),
        (None, None, Progress.WAITS),
    ],
)
def test_the_default_words(status: str | None, hash_: str | None, expected: Progress) -> None:
    """What the usual words mean; a word that is in no list decides nothing without a hash."""
    adapter = Kompliant()
    settings = {
        Progress.FAILED: adapter.failed_statuses,
        Progress.DONE: adapter.uploaded_statuses,
        Progress.CAME: adapter.processing_statuses,
        Progress.WAITS: adapter.pending_statuses,
    }
    assert progress({"upload_status": status, "hash": hash_}, settings) is expected


# --- in doubt ---------------------------------------------------------------------------------------------------------


async def test_a_form_that_landed_unnoticed(archive: Archive) -> None:
    """All answers of the store are lost: the record tells that the bytes came, and nothing is sent under a new one."""
    add(archive)
    async with Sandbox(faults=failing("form", kind="reset_after")) as sandbox:
        assert (await run(archive, sandbox)).completed == 1
        assert count(sandbox, "init") == 1
        assert len(held(sandbox)) == 1


async def test_bytes_that_are_looked_at_are_there(archive: Archive) -> None:
    """A word of processing says so: they are waited for, not sent again."""
    add(archive)
    options = KompliantOptions(processing="SCANNING", status_delay=0.9)
    async with Sandbox(options=options, faults=failing("form", kind="reset_after")) as sandbox:
        assert (await run(archive, sandbox)).completed == 1, ended(archive)
        assert (count(sandbox, "init"), len(sandbox.kompliant.documents)) == (1, 1)


@pytest.mark.parametrize("answer", ["error", "mystery"])
async def test_no_word_is_no_reason_to_send_again(archive: Archive, answer: str) -> None:
    """A record that can't be asked about, or whose word means nothing to us, is not sent under a new one."""
    add(archive)
    options = KompliantOptions(pending="MYSTERY", uploaded="UPLOADED", status_delay=0)
    never = (Rule(kind="job_never"),) if answer == "mystery" else ()
    silent = failing("get", kind="status", status=200, message="no").rules if answer == "error" else ()
    lost = failing("form", kind="reset_after").rules
    async with Sandbox(options=options, faults=Faults(rules=(*lost, *silent, *never))) as sandbox:
        await run(archive, sandbox)
        assert count(sandbox, "init") == 1
        sandbox.faults = Faults(rules=(*silent, *never))
        assert (await run(archive, sandbox)).unknown == 1
        words = "no (trace id" if answer == "error" else "'MYSTERY', which is in none of BULKUP_KOMPLIANT_..._STATUSES"
        assert words in (ended(archive).error or "")
        assert count(sandbox, "init") == 1
        sandbox.faults = Faults()
        sandbox.kompliant.documents[0].status = "UPLOADED"
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "init"), len(held(sandbox))) == (1, 1)


async def kill_after_create(archive: Archive, sandbox: Sandbox) -> None:
    """The ledger as a kill leaves it when ``document.create`` took effect, and its answer is on its way."""
    records = len(sandbox.kompliant.documents)
    sandbox.faults = failing("init", kind="latency", seconds=30)
    going = asyncio.create_task(run(archive, sandbox))
    async with asyncio.timeout(5):
        while len(sandbox.kompliant.documents) == records:  # noqa: ASYNC110 - the sandbox tells nobody
            await asyncio.sleep(0.005)
    killed = archive.tables()
    going.cancel()
    with suppress(asyncio.CancelledError):
        await going
    archive.restore(killed)
    sandbox.faults = Faults()


async def test_a_lost_create_answer(archive: Archive) -> None:
    """The subject record's list is asked; the record, whose form is lost, is noted as left, and another is made."""
    path = add(archive)
    async with Sandbox() as sandbox:
        await kill_after_create(archive, sandbox)
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "list"), count(sandbox, "init"), count(sandbox, "form")) == (1, 2, 1)
        left, made = sandbox.kompliant.documents
        assert (left.stored, held(sandbox)) == (None, [sha256(path)])
        (row,) = archive.ledger_rows()
        assert row["document_id"] == made.id
        assert archive.sql("SELECT document_id, fate FROM former_documents") == [(left.id, "left")]


async def test_one_lost_create_answer_after_the_other(archive: Archive) -> None:
    """Each look finds the record of the last call; all of them are noted as left, and the row completes."""
    add(archive)
    async with Sandbox(faults=Faults(rules=(Rule(kind="reset_after", step="init", times=3),))) as sandbox:
        assert (await run(archive, sandbox, retry_for=10)).completed == 1
        *left, made = (document.id for document in sandbox.kompliant.documents)
        assert (count(sandbox, "list"), count(sandbox, "init"), len(left)) == (3, 4, 3)
        assert archive.ledger_rows()[0]["document_id"] == made
        assert archive.sql("SELECT document_id, fate FROM former_documents ORDER BY id") == [
            (id_, "left") for id_ in left
        ]


@pytest.mark.parametrize("content", [CONTENT, CONTENT[::-1]])
async def test_a_document_of_the_same_name_and_size(archive: Archive, content: bytes) -> None:
    """After a lost answer one that has bytes, be they the same, is somebody else's: this row's were never sent."""
    path = add(archive)
    async with Sandbox(options=KompliantOptions(status_delay=0)) as sandbox:
        await kill_after_create(archive, sandbox)
        sandbox.kompliant.documents[0].name = "other.pdf"  # what the call left is not listed by this name
        async with aiohttp.ClientSession() as http:
            client = Client(sandbox, http)
            await client.final(await client.upload(content))
        before = count(sandbox, "init")
        assert (await run(archive, sandbox)).completed == 1, ended(archive)
        assert count(sandbox, "init") - before == 1
        assert sha256(path) in held(sandbox)
        (row,) = archive.ledger_rows()
        assert row["document_id"] == sandbox.kompliant.documents[-1].id


# --- the form's end ---------------------------------------------------------------------------------------------------


async def test_an_expired_form(archive: Archive) -> None:
    """A new call to ``document.create``, whose record is the row's; the old one is noted as left."""
    path = add(archive)
    async with Sandbox(faults=Faults(rules=(Rule(kind="expired_url", times=1),))) as sandbox:
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "init"), count(sandbox, "form")) == (2, 2)
        old, new = sandbox.kompliant.documents
        assert (old.stored, held(sandbox)) == (None, [sha256(path)])
        (row,) = archive.ledger_rows()
        assert (row["document_id"], archive.former_ids()) == (new.id, [old.id])


@pytest.mark.parametrize("status", [400, 403])
async def test_temporary_credentials_that_ended(archive: Archive, status: int) -> None:
    """ExpiredToken of either status wants a new form too."""
    add(archive)
    options = KompliantOptions.model_validate({"token_life": 0.1, "expired_token": status})
    async with Sandbox(options=options, faults=failing("init", kind="latency", seconds=0.15, times=1)) as sandbox:
        assert (await run(archive, sandbox)).completed == 1, ended(archive)
        assert (count(sandbox, "init"), len(held(sandbox))) == (2, 1)


async def test_a_violated_policy_is_permanent(archive: Archive) -> None:
    """It is not sent again, and the row has the store's words, without the form's secrets."""
    add(archive)
    words = 'Invalid according to Policy: Policy Condition failed: ["eq", "$key", "v"]'
    async with Sandbox(faults=failing("form", kind="status", status=403, message=words)) as sandbox:
        assert (await run(archive, sandbox)).failed == 1
        end = ended(archive)
        assert (end.stage, end.error_code) == ("transfer", "store_refused")
        assert end.error == f"HTTP 403: AccessDenied: {words}"
        assert (count(sandbox, "init"), count(sandbox, "form")) == (1, 1)
