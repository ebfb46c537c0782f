"""What only Kompliant has: its signature, its calls and its form over the wire, its envelope."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from bulkup.errors import StepError
from bulkup.model import Again, Columns, Content, Document
from bulkup.providers.base import Answer, Outgoing
from bulkup.providers.kompliant import Kompliant
from bulkup.providers.kompliant_columns import KompliantColumns
from bulkup.providers.kompliant_envelope import listed, opened
from bulkup.sandbox import Faults, KompliantOptions, Sandbox
from tests.conftest import Archive
from tests.kompliant import CONTENT, LARGE, ORDER, PDF, Tap, add, count, ended, failing, held, links, run

CREATE, GET, FORM = "/kompliant/document.create", "/kompliant/document.get", "/store/kompliant"
PASSPORT = "rd_sandbox_passport"


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


def outgoing(name: str, size: int) -> Outgoing:
    """A document on its way."""
    columns = KompliantColumns(subject_record_id="sr_1")
    document: Document[Columns] = Document(1, "k", 1, "kompliant", "subject:sr_1", f"/{name}", name, columns)
    return Outgoing(document, Content(size, 0))


class Vendor:
    """Gives each call the same answer, and counts them."""

    def __init__(self, answer: object) -> None:
        self._body = orjson.dumps(answer)
        self.calls = 0

    async def call(self, *_: object, **__: object) -> Answer:
        """See `Caller.call`."""
        self.calls += 1
        return Answer(200, {}, self._body)


async def test_limits_are_options() -> None:
    """The largest size and the life of a form are not published: the adapter takes them."""
    values = {"Content-Type": PDF, "key": "k"}
    vendor: Any = Vendor({"document": {"document_id": "d_1", "upload_url": "https://x", "presign_values": values}})
    adapter = Kompliant(max_size=10, url_life=60)
    (upload,) = (await adapter.init(vendor, [outgoing("a.pdf", 10)])).uploads
    assert upload.lifetime == 60
    with pytest.raises(StepError, match="11 bytes are more than the 10 allowed") as error:
        await adapter.init(vendor, [outgoing("a.pdf", 11)])
    assert (error.value.failure.code, error.value.failure.sent, vendor.calls) == ("too_large", False, 1)


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"document_id": "d_1", "upload_url": "https://x"},
        {"document_id": "d_1", "upload_url": "https://x", "presign_values": {}},
        {"document_id": "d_1", "upload_url": "https://x", "presign_values": {"key": None}},
        {"document_id": "d_1", "upload_url": "", "presign_values": {"key": "k"}},
        {"upload_url": "https://x", "presign_values": {"key": "k"}},
        [],
    ],
)
async def test_a_create_answer_that_lacks_something(made: object) -> None:
    """It counts as lost: what it said is not known."""
    vendor: Any = Vendor({"meta": {"status": "SUCCESS"}, "data": {"document": made}})
    with pytest.raises(StepError) as error:
        await Kompliant().init(vendor, [outgoing("a.pdf", 1)])
    assert (error.value.failure.code, error.value.failure.again) == ("unreadable_answer", Again.SAME)
