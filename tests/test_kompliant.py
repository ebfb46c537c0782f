"""What only Kompliant has: its signature, its form, its upload status and hash, and links to required documents."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

import bulkup
from bulkup.errors import StepError
from bulkup.events import DocumentEnded
from bulkup.providers.kompliant import Kompliant
from bulkup.providers.kompliant_envelope import digest, linked, listed, opened
from bulkup.sandbox import Faults, KompliantOptions, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.kompliant import CONTENT, ORDER, PDF, Client, Tap

CREATE, GET = "/kompliant/document.create", "/kompliant/document.get"
LINK = "/kompliant/workflow.requiredDocument.fulfillment.batchAdd"
FORM = "/store/kompliant"
PASSPORT, STATEMENT, ADDRESS = (f"rd_sandbox_{name}" for name in ("passport", "bank_statement", "proof_of_address"))
LARGE = bytes(range(256)) * 2000
"""More than is read before the init: it is hashed while it is sent."""


def add(archive: Archive, name: str = "a.pdf", content: bytes = CONTENT, **columns: str) -> Path:
    """A file and its row."""
    return archive.add(name, content, provider="kompliant", **{"subject_record_id": "sr_1"} | columns)


async def run(
    archive: Archive, sandbox: Sandbox, settings: Mapping[str, str] | None = None, **options: Any
) -> bulkup.Summary:
    """A run, with more of the environment (``BULKUP_KOMPLIANT_`` is put before the names)."""
    more = {f"BULKUP_KOMPLIANT_{name}": value for name, value in (settings or {}).items()}
    return await archive.upload(sandbox, environment={**sandbox.environment(), **more}, **options)


def ended(archive: Archive) -> DocumentEnded:
    """How the only row of the last run ended."""
    (end,) = archive.ended().values()
    return end


def count(sandbox: Sandbox, step: str) -> int:
    """How often a step was requested."""
    return sandbox.requests["kompliant", step]


def held(sandbox: Sandbox) -> list[str]:
    """The hashes of all bytes that the vendor has."""
    return [each.stored.sha256.hex() for each in sandbox.kompliant.documents if each.stored]


def links(sandbox: Sandbox) -> list[str]:
    """The required documents that are fulfilled."""
    return sorted(each.required for each in sandbox.kompliant.fulfillments)


def failing(*steps: str, **rule: Any) -> Faults:
    """A plan in which these steps go wrong."""
    return Faults(rules=tuple(Rule.model_validate({"step": step, "vendor": "kompliant", **rule}) for step in steps))


# --- the signature ----------------------------------------------------------------------------------------------------


def test_the_published_vector() -> None:
    """The vendor's own sample: its keys give its signature, in exactly three headers, whatever the call."""
    key, secret, token = "sb_3eY9UJuj09636NVPlgmhfa", "xBeain5pFnPyQkl98qzA+BG+Cjzskpqq9fGKDbDoXNP5", "token-1"
    adapter = Kompliant(api_key=key, secret_key=secret, auth_token=token)
    expected = {
        "Authorization": "KSig1-HMAC-SHA256 iWEh4jjK9wfjTXd/3GzImPLL1swTZiCPpDbj62vFo2Q=",
        "X-API-Key": key,
        "X-API-Auth-Token": token,
    }
    assert adapter.authorize("POST", "/document.create", b"{}") == expected
    assert adapter.authorize("POST", "/document.get", b"") == expected
    for hidden in (key, secret, token, expected["Authorization"].partition(" ")[2]):
        assert hidden not in repr(adapter)
        assert hidden in adapter.secrets


async def test_credentials_that_are_refused(archive: Archive) -> None:
    """One refusal stops the vendor's rows, and says why; no record was made."""
    for number in range(5):
        add(archive, f"{number}.pdf")
    async with Sandbox() as sandbox:
        summary = await run(archive, sandbox, {"AUTH_TOKEN": "another"}, concurrency=1)
        assert (summary.completed, summary.exit_code) == (0, 1)
        assert count(sandbox, "init") == 1
        end = next(iter(archive.ended().values()))
        assert (end.stage, end.error_code) == ("init", "unauthorized")
        assert "X-API-Auth-Token is missing or wrong" in (end.error or "")
        assert (await run(archive, sandbox)).completed == 5


async def test_the_vendors_words_never_show_a_credential(archive: Archive) -> None:
    """A refusal that repeats them, with HTTP 200 or 400, at any step, reaches neither ledger nor events."""
    add(archive, workflow_id="w_sandbox", required_document_ids=PASSPORT)
    async with Sandbox() as sandbox:
        environment = sandbox.environment()
        names = ("API_KEY", "SECRET_KEY", "AUTH_TOKEN")
        values = [environment[f"BULKUP_KOMPLIANT_{name}"] for name in names]
        secrets = Kompliant(api_key=values[0], secret_key=values[1], auth_token=values[2]).secrets
        for status in (200, 400):
            for step in ("init", "get", "link"):
                archive.ledger = archive.folder / f"{status}-{step}.db"
                sandbox.faults = failing(step, kind="status", status=status, message=f"bad: {' / '.join(secrets)}")
                await run(archive, sandbox)
                assert "bad: *** / *** / *** / ***" in (ended(archive).error or ""), (status, step)
                assert not any(secret.encode() in archive.ledger.read_bytes() for secret in secrets)
        archive.ledger = archive.folder / "item.db"
        archive.rows[0]["required_document_ids"] = f"rd_{values[2]}"
        sandbox.faults = Faults()
        await run(archive, sandbox)
        words = "rd_***: ENTITY_NOT_FOUND: there is no required document rd_*** in w_sandbox"
        assert ended(archive).error == words


# --- over the wire ----------------------------------------------------------------------------------------------------


async def test_the_calls_as_they_go_over_the_wire(archive: Archive) -> None:
    """Method, path, exactly these headers, and a JSON body with exactly the guide's keys and types."""
    add(archive, "pass port.pdf", LARGE)
    async with Sandbox() as sandbox, Tap().listening(sandbox) as tap:
        assert (await run(archive, sandbox)).completed == 1, ended(archive)
        (create,), (get, *_) = tap.requests(CREATE), tap.requests(GET)
        for seen in (create, get):
            assert seen.line == f"POST {seen.path} HTTP/1.1"
            assert [name for name, _ in seen.headers] == [
                "Host",
                "Accept",
                "Authorization",
                "X-API-Key",
                "X-API-Auth-Token",
                "Content-Type",
                "Content-Length",
            ]
            assert dict(seen.headers)["Content-Type"] == "application/json"
        expected = {"subject_record_id": "sr_1", "file_name": "pass port.pdf", "file_size_in_bytes": len(LARGE)}
        assert orjson.loads(create.body) == expected
        assert f'"file_size_in_bytes":{len(LARGE)}'.encode() in create.body
        assert orjson.loads(get.body) == {"document_id": sandbox.kompliant.documents[0].id}


NAMES = {
    "passport.pdf": "passport.pdf",
    "pä ss+#%20~ñ.pdf": "pä ss+#%20~ñ.pdf",
    'a "b"; c=d.pdf': "a %22b%22; c=d.pdf",
    "back\\slash.pdf": "back\\slash.pdf",
}
"""Of files, and how they are written in a form."""


@pytest.mark.parametrize("content", [CONTENT, LARGE])
async def test_the_form_as_it_goes_over_the_wire(archive: Archive, content: bytes) -> None:
    """The guide's nine fields in its order, further ones after them, the file last; no header that is not needed."""
    for name in NAMES:
        add(archive, name, content)
    options = KompliantOptions(more_fields={"acl": "private", "x-amz-meta-zone": "eu"}, status_delay=0)
    async with Sandbox(options=options) as sandbox, Tap().listening(sandbox) as tap:
        assert (await run(archive, sandbox)).completed == len(NAMES), archive.ended()
        documents = {document.id: document for document in sandbox.kompliant.documents}
        written = set()
        for sent in tap.requests(FORM):
            assert sent.line == f"POST {FORM} HTTP/1.1"
            headers = dict(sent.headers)
            assert list(headers) == ["Host", "Content-Type", "Content-Length"]
            assert headers["Content-Length"] == str(len(sent.body))
            boundary = re.fullmatch(r"multipart/form-data; boundary=([\w-]{1,70})", headers["Content-Type"])
            assert boundary is not None
            fields, file = taken_apart(sent.body, boundary[1].encode())
            assert [head for head, _ in fields] == [
                f'Content-Disposition: form-data; name="{name}"' for name in (*ORDER, "acl", "x-amz-meta-zone")
            ]
            values = dict(zip((*ORDER, "acl", "x-amz-meta-zone"), (value.decode() for _, value in fields), strict=True))
            document = documents[values["x-amz-meta-document-id"]]
            assert (values["key"], values["Content-Type"]) == (f"sr_1/{document.id}.pdf", PDF)
            assert (values["acl"], values["x-amz-meta-zone"]) == ("private", "eu")
            disposition = f'Content-Disposition: form-data; name="file"; filename="{NAMES[document.name]}"'
            assert file == (f"{disposition}\r\nContent-Type: application/pdf", content)
            written.add(document.name)
        assert written == set(NAMES)
        assert not sandbox.breaches
        assert not sandbox.leaks


def taken_apart(body: bytes, boundary: bytes) -> tuple[list[tuple[str, bytes]], tuple[str, bytes]]:
    """The heads and contents of a form's parts: the fields, and what is last."""
    first, *parts, last = body.split(b"--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    *fields, file = [part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n") for part in parts]
    return [(head.decode(), value) for head, _, value in fields], (file[0].decode(), file[2])


async def test_the_content_type_is_that_of_the_form(archive: Archive) -> None:
    """Whatever the vendor derives from the file name; bulkup does not guess."""
    for name in ("a.png", "b.docx", "c.csv", "d.xyz"):
        add(archive, name)
    async with Sandbox(options=KompliantOptions(extensions=None)) as sandbox:
        assert (await run(archive, sandbox)).completed == 4
        assert not sandbox.breaches


# --- the envelope -----------------------------------------------------------------------------------------------------


def test_opened() -> None:
    """An answer with or without envelope; a success takes ``meta.status`` SUCCESS."""
    meta = {"status": "SUCCESS", "trace_id": "t-1", "version": "1", "warnings": [{"message": "soon"}]}
    good: list[dict[str, object]] = [{"meta": meta, "data": {"a": 1}}, {"data": {"a": 1}}, {"a": 1}]
    assert [opened(answer)["a"] for answer in good] == [1, 1, 1]
    assert opened({"meta": meta, "data": {}}) == {}
    error = {"code": "SYSTEM_RULE_VIOLATION", "message": "too late", "sub_code": "WORKFLOW_ENDED"}
    bad: list[dict[str, object]] = [{"meta": {"status": "ERROR"}, "errors": [error]}, {"errors": [error]}]
    for answer in bad:
        with pytest.raises(StepError, match="SYSTEM_RULE_VIOLATION WORKFLOW_ENDED: too late"):
            opened(answer)
    with pytest.raises(StepError, match=r"meta.status is ERROR \(trace id t-1\)"):
        opened({"meta": {"status": "ERROR", "trace_id": "t-1"}})
    with pytest.raises(StepError, match="no list 'documents'"):
        listed({}, "documents")


@pytest.mark.parametrize(
    ("step", "state", "stage"),
    [
        ("init", "failed", "init"),
        ("get", "unknown", "confirm"),
        ("required", "failed", "link"),
        ("link", "failed", "link"),
    ],
)
async def test_http_200_with_an_error_is_a_failure(archive: Archive, step: str, state: str, stage: str) -> None:
    """It is not retried; the row has code, words and trace id, and the next run goes on from there."""
    add(archive, workflow_id="w_sandbox", document_type_code="PASSPORT")
    async with Sandbox(faults=failing(step, kind="status", status=200, message="not today")) as sandbox:
        await run(archive, sandbox)
        end = ended(archive)
        assert (end.state, end.stage) == (state, stage)
        assert re.search(r"BAD_REQUEST: not today \(trace id \w+\)$", end.error or "")
        assert count(sandbox, step) == 1
        sandbox.faults = Faults()
        assert (await run(archive, sandbox)).completed == 1
        assert (len(held(sandbox)), links(sandbox)) == (1, [PASSPORT])


async def test_a_refusal_has_the_vendors_words(archive: Archive) -> None:
    """400 is permanent: codes, message and trace id are in the row."""
    add(archive, subject_record_id="none")
    async with Sandbox() as sandbox:
        await run(archive, sandbox)
        end = ended(archive)
        assert (end.state, end.stage, end.error_code) == ("failed", "init", "not_found")
        assert re.fullmatch(
            r"HTTP 400: ENTITY_NOT_FOUND: there is no subject record none \(trace id \w+\)", end.error or ""
        )
        assert count(sandbox, "init") == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [(429, "text"), (429, "json"), (500, "text"), (503, "text"), (503, "empty"), (504, "empty")],
)
async def test_what_is_throttled_or_down_is_asked_again(archive: Archive, status: int, body: str) -> None:
    """Every call is repeated, whatever the body of the answer is, and nothing is done twice."""
    add(archive, workflow_id="w_sandbox", document_type_code="PASSPORT")
    options = KompliantOptions.model_validate({"infrastructure": body})
    faults = failing("init", "get", "required", "link", kind="status", status=status, times=1)
    async with Sandbox(options=options, faults=faults) as sandbox:
        assert (await run(archive, sandbox, retry_for=5)).completed == 1, ended(archive)
        assert (count(sandbox, "init"), count(sandbox, "link"), count(sandbox, "required")) == (2, 2, 2)
        assert (len(held(sandbox)), links(sandbox)) == (1, [PASSPORT])


async def test_extensions_are_a_setting(archive: Archive) -> None:
    """Another extension fails its row before anything is asked; case and dots don't matter."""
    for name in ("a.pdf", "b.PNG", "c.jpg"):
        add(archive, name)
    async with Sandbox() as sandbox:
        summary = await run(archive, sandbox, {"EXTENSIONS": "PDF, .png"})
        assert (summary.completed, summary.failed) == (2, 1)
        end = archive.ended()[3]
        assert (end.stage, end.error_code) == ("init", "extension_refused")
        assert count(sandbox, "init") == 2


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
    killed = archive.folder / "killed.db"
    with closing(sqlite3.connect(archive.ledger)) as ledger, closing(sqlite3.connect(killed)) as copy:
        ledger.backup(copy)
    going.cancel()
    with suppress(asyncio.CancelledError):
        await going
    for name in archive.folder.glob("bulkup.db*"):
        name.unlink()
    killed.rename(archive.ledger)
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
        with closing(sqlite3.connect(archive.ledger)) as database:
            assert database.execute("SELECT document_id, fate FROM former_documents").fetchall() == [(left.id, "left")]


@pytest.mark.parametrize(("content", "creates"), [(CONTENT, 1), (CONTENT[::-1], 2)])
async def test_a_document_of_the_same_name_and_size(archive: Archive, content: bytes, creates: int) -> None:
    """After a lost answer one that has this row's bytes, by its hash, is the row's; one with others is somebody's."""
    path = add(archive)
    async with Sandbox(options=KompliantOptions(status_delay=0)) as sandbox:
        await kill_after_create(archive, sandbox)
        sandbox.kompliant.documents[0].name = "other.pdf"  # what the call left is not listed by this name
        async with aiohttp.ClientSession() as http:
            client = Client(sandbox, http)
            await client.final(await client.upload(content))
        before = count(sandbox, "init")
        assert (await run(archive, sandbox)).completed == 1, ended(archive)
        assert count(sandbox, "init") - before == creates - 1
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


# --- links ------------------------------------------------------------------------------------------------------------


LINKED: list[tuple[dict[str, str], list[str]]] = [
    ({"required_document_ids": PASSPORT}, [PASSPORT]),
    ({"required_document_ids": f" {STATEMENT} ; {PASSPORT}"}, [STATEMENT, PASSPORT]),
    ({"document_type_code": "PROOF_OF_ADDRESS"}, [ADDRESS]),
    ({"document_type_code": "PASSPORT", "required_document_ids": f"{STATEMENT};{PASSPORT}"}, [STATEMENT, PASSPORT]),
    ({"document_type_code": "PASSPORT", "required_document_ids": ADDRESS}, [ADDRESS, PASSPORT]),
    ({}, []),
]
"""Columns of rows, and what they are to be linked to."""


@pytest.mark.parametrize("batch_form", ["flat", "items"])
@pytest.mark.parametrize("envelope", [True, False])
async def test_links(archive: Archive, *, envelope: bool, batch_form: str) -> None:
    """By ids, by type code, or both: all of a row in one ``batchAdd`` with exactly the guide's keys, and no other."""
    for number, (columns, _) in enumerate(LINKED):
        archive.add(f"{number}.pdf", provider="kompliant", subject_record_id="sr_1", workflow_id="w_sandbox", **columns)
    options = KompliantOptions.model_validate({"envelope": envelope, "batch_form": batch_form, "status_delay": 0})
    async with Sandbox(options=options) as sandbox, Tap().listening(sandbox) as tap:
        assert (await run(archive, sandbox)).completed == len(LINKED), archive.ended()
        ids = [row["document_id"] for row in archive.ledger_rows()]
        expected = [
            [{"required_document_id": required, "document_id": id_} for required in linked_to]
            for id_, (_, linked_to) in zip(ids, LINKED, strict=True)
        ]
        sent = [orjson.loads(seen.body) for seen in tap.requests(LINK)]
        assert {each["workflow_id"] for each in sent} == {"w_sandbox"}
        assert all(each.keys() == {"workflow_id", "fulfillments"} for each in sent)
        assert sorted((each["fulfillments"] for each in sent), key=str) == sorted(filter(None, expected), key=str)
        assert len(links(sandbox)) == sum(len(linked_to) for _, linked_to in LINKED)
        assert (count(sandbox, "required"), count(sandbox, "fulfillments")) == (3, 0)
        assert not sandbox.breaches


async def test_a_json_list_of_required_documents(archive: Archive) -> None:
    """In JSON the ids may be a list."""
    add(archive)
    manifest = archive.folder / "manifest.json"
    row = archive.rows[0] | {"workflow_id": "w_sandbox"}
    manifest.write_text(json.dumps([row | {"required_document_ids": [PASSPORT, STATEMENT]}]))
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox, manifest)).completed == 1
        assert links(sandbox) == sorted([PASSPORT, STATEMENT])
        assert count(sandbox, "link") == 1


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (("PASSPORT", "BANK_STATEMENT"), "requires no document of type 'VISA'; it requires: BANK_STATEMENT, PASSPORT"),
        ((), "it requires: none"),
        (("VISA", "VISA"), "several documents of type 'VISA': name one by its id: rd_sandbox_visa, rd_sandbox_visa"),
    ],
)
async def test_a_type_code_that_does_not_tell(archive: Archive, codes: tuple[str, ...], words: str) -> None:
    """The row fails at ``link`` and says which codes there are; once it is mended, only the link is made."""
    add(archive, workflow_id="w_sandbox", document_type_code="VISA")
    workflows = {"w_sandbox": ("sr_1", codes), "w_good": ("sr_1", ("VISA",))}
    async with Sandbox(options=KompliantOptions(workflows=workflows)) as sandbox:
        assert (await run(archive, sandbox)).failed == 1
        end = ended(archive)
        assert (end.stage, end.error_code) == ("link", "no_requirement")
        assert words in (end.error or "")
        archive.rows[0]["workflow_id"] = "w_good"
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "init"), count(sandbox, "form"), links(sandbox)) == (1, 1, ["rd_good_visa"])


@pytest.mark.parametrize("batch_form", ["flat", "items"])
async def test_partial_failure(archive: Archive, batch_form: str) -> None:
    """The row fails at ``link`` with the reason of each refused item; later runs link only what is missing."""
    add(archive, workflow_id="w_sandbox", required_document_ids=f"rd_none;{PASSPORT};rd_other_visa")
    workflows = {"w_sandbox": ("sr_1", ("PASSPORT", "BANK_STATEMENT")), "w_other": ("sr_1", ("VISA",))}
    options = KompliantOptions.model_validate({"batch_form": batch_form, "workflows": workflows})
    async with Sandbox(options=options) as sandbox, Tap().listening(sandbox) as tap:
        for _ in range(2):  # unmended it stays failed, and nothing is done twice
            assert (await run(archive, sandbox)).failed == 1
            end = ended(archive)
            assert (end.stage, end.error_code) == ("link", "link_failed")
            assert end.error == (
                "rd_none: ENTITY_NOT_FOUND: there is no required document rd_none in w_sandbox; "
                "rd_other_visa: ENTITY_NOT_FOUND: there is no required document rd_other_visa in w_sandbox"
            )
            assert links(sandbox) == [PASSPORT]
        archive.rows[0]["required_document_ids"] = f"{STATEMENT};{PASSPORT}"
        assert (await run(archive, sandbox)).completed == 1
        assert links(sandbox) == sorted([PASSPORT, STATEMENT])
        assert (count(sandbox, "init"), count(sandbox, "form")) == (1, 1)
        batches = [orjson.loads(seen.body)["fulfillments"] for seen in tap.requests(LINK)]
        linked_once = [item["required_document_id"] for batch in batches for item in batch]
        assert (linked_once.count(PASSPORT), linked_once.count(STATEMENT)) == (1, 1)


async def test_a_foreign_document(archive: Archive) -> None:
    """A document must belong to the workflow's subject record."""
    add(archive, workflow_id="w_sandbox", required_document_ids=PASSPORT)
    workflows = {"w_sandbox": ("sr_2", ("PASSPORT",))}
    async with Sandbox(options=KompliantOptions(workflows=workflows)) as sandbox:
        assert (await run(archive, sandbox)).failed == 1
        assert "another subject record" in (ended(archive).error or "")


@pytest.mark.parametrize("duplicate", ["a duplicate of an existing fulfillment", "the pair is taken"])
@pytest.mark.parametrize("refusals", ["item", "batch"])
async def test_a_duplicate_counts_as_done(archive: Archive, refusals: str, duplicate: str) -> None:
    """A batch whose answer was lost is repeated, and refused as there already: in whatever words, that is done."""
    add(archive, workflow_id="w_sandbox", required_document_ids=f"{PASSPORT};{STATEMENT}")
    options = KompliantOptions.model_validate({"refusals": refusals, "duplicate": duplicate})
    async with Sandbox(options=options, faults=failing("link", kind="reset_after", times=1)) as sandbox:
        assert (await run(archive, sandbox)).completed == 1, ended(archive)
        assert (links(sandbox), count(sandbox, "link")) == (sorted([PASSPORT, STATEMENT]), 2)


async def test_a_list_that_is_down_fails_no_row(archive: Archive) -> None:
    """Whether a refused link was there already can't be told now: the next run asks, and the row is completed."""
    add(archive, workflow_id="w_sandbox", required_document_ids=PASSPORT)
    lost = Rule(kind="reset_after", step="link", times=1)
    down = Rule(kind="status", step="fulfillments", status=503)
    options = KompliantOptions(duplicate="the pair is taken")
    async with Sandbox(options=options, faults=Faults(rules=(lost, down))) as sandbox:
        assert (await run(archive, sandbox)).pending == 1
        sandbox.faults = Faults()
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "link"), links(sandbox)) == (2, [PASSPORT])


async def test_links_that_were_made_before_a_kill(archive: Archive) -> None:
    """All answers to the batch are lost: the next run asks what is linked, and links no more."""
    add(archive, workflow_id="w_sandbox", required_document_ids=f"{PASSPORT};{STATEMENT}")
    async with Sandbox(faults=failing("link", kind="reset_after")) as sandbox:
        assert (await run(archive, sandbox)).pending == 1
        tries = count(sandbox, "link")
        sandbox.faults = Faults()
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "link"), count(sandbox, "fulfillments")) == (tries, 2)
        assert (len(held(sandbox)), links(sandbox)) == (1, sorted([PASSPORT, STATEMENT]))


async def test_an_ended_workflow(archive: Archive) -> None:
    """The row fails at ``link`` with code, sub code and trace id; its bytes stay, and are not sent again."""
    add(archive, workflow_id="w_ended", document_type_code="PASSPORT")
    async with Sandbox() as sandbox:
        for _ in range(2):
            assert (await run(archive, sandbox)).failed == 1
            end = ended(archive)
            assert end.stage == "link"
            assert re.search(
                r"SYSTEM_RULE_VIOLATION WORKFLOW_ENDED: the workflow has ended \(trace id \w+\)", end.error or ""
            )
        assert (count(sandbox, "init"), count(sandbox, "form"), len(held(sandbox))) == (1, 1, 1)


def _refused(code: str, message: str, sub_code: str | None = None) -> dict[str, object]:
    error = {"code": code, "message": message} | ({"sub_code": sub_code} if sub_code else {})
    return {"request": {"required_document_id": "a"}, "status": "ERROR", "errors": [error]}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"fulfillment_id": "f", "required_document_id": "a", "decision_status": "NEEDS_REVIEW"}, {"a": None}),
        ({"request": {"required_document_id": "a"}, "status": "SUCCESS", "data": {}}, {"a": None}),
        ({"status": "SUCCESS", "data": {"fulfillment": {"required_document_id": "a"}}}, {"a": None}),
        ({"status": "SUCCESS"}, {"a": None}),
        ({"status": "ERROR"}, {"a": "refused without a reason"}),
        ({"status": "ERROR", "errors": [{"code": "X", "message": "y"}]}, {"a": "X: y"}),
        (_refused("X", "y", "Z"), {"a": "X Z: y"}),
        (_refused("SYSTEM_RULE_VIOLATION", "Fulfillment already exists"), {"a": None}),
        (_refused("SYSTEM_RULE_VIOLATION", "no", "DUPLICATE_FULFILLMENT"), {"a": None}),
        (_refused("ALREADY_LINKED", "no"), {"a": None}),
        (
            _refused("SYSTEM_RULE_VIOLATION", "workflow already completed"),
            {"a": "SYSTEM_RULE_VIOLATION: workflow already completed"},
        ),
        (_refused("ENTITY_NOT_FOUND", "it no longer exists"), {"a": "ENTITY_NOT_FOUND: it no longer exists"}),
        ({"required_document_id": "a"}, {}),
        ({"required_document_id": "a", "status": "QUEUED"}, {}),
    ],
)
@pytest.mark.parametrize("name", ["fulfillments", "results", ""])
def test_items_of_a_batch(item: dict[str, object], said: dict[str, str | None], name: str) -> None:
    """Both forms of an item, however its list is called: only a positive word is one, and only a duplicate is done."""
    inner: object = {name: [item]} if name else [item]
    assert linked({"meta": {"status": "SUCCESS"}, "data": inner}, ["a"]) == said
    if name:
        assert linked({name: [item]}, ["a"]) == said


def test_items_are_taken_by_their_own_ids() -> None:
    """In any order; by their place only where an item has none, and all are there."""
    good = {"fulfillment_id": "f", "required_document_id": "a"}
    assert linked({"data": {"x": [_refused("X", "y"), good]}}, ["b", "a"]) == {"a": None}
    bad = {"status": "ERROR", "errors": [{"code": "X"}]}
    assert linked({"data": {"x": [good, bad]}}, ["a", "b"]) == {"a": None, "b": "X"}
    assert linked({"data": {"x": [bad]}}, ["a", "b"]) == {}
    assert linked({"meta": {"status": "ERROR"}, "errors": [{"code": "X"}, {"code": "Y"}]}, ["a", "b"]) == {}
