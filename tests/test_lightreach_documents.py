"""LightReach's wire format: tickets, logins, and documents held against what was sent."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import StepError
from bulkup.model import Again, Columns, Content, Document, Failure, Receipt, Reply, Ticket
from bulkup.providers.base import Answer, Job, Json, Outgoing, Trace
from bulkup.providers.lightreach import LightReach
from bulkup.providers.lightreach_columns import LightReachColumns
from bulkup.providers.lightreach_documents import Reported, disproof, find, parse, parse_all, receipts, reported
from bulkup.providers.remote import RemoteDocument, RemoteFile
from bulkup.secret import SignedUrl

AT = "2026-01-01T12:00:00.000Z"
ADAPTER = LightReach(token="tok-secret")


class Vendor:
    """Stands in for `bulkup.providers.base.Caller`: one answer to everything."""

    def __init__(self, answer: object = None, date: str | None = None, event: Json | None = None) -> None:
        self.answer = answer if isinstance(answer, bytes) else orjson.dumps(answer)
        self.date = date
        self.event = event or {}
        self.calls: list[tuple[str, str, Any, Any]] = []
        self.jobs: list[Job] = []
        self.fetched: list[tuple[SignedUrl, bool]] = []
        self.expire = 0

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """As `Caller.call`."""
        assert not repeatable or method == "POST"
        self.calls.append((method, path, json, params))
        return Answer(202, {"date": self.date} if self.date else {}, self.answer)

    async def follow(self, job: Job) -> Json:
        """As `Caller.follow`."""
        self.jobs.append(job)
        return self.event

    async def fetch(self, url: SignedUrl, *, auth: bool) -> bytes:
        """As `Caller.fetch`."""
        self.fetched.append((url, auth))
        if self.expire:
            self.expire -= 1
            raise StepError(Failure("url_expired", "", Again.FRESH, answered=True, status=403))
        return b"bytes"

    async def measure(self, url: SignedUrl) -> int | None:
        """As `Caller.measure`."""
        raise NotImplementedError(url)


def md5(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.md5(data).hexdigest()  # noqa: S324


def content(data: bytes) -> Content:
    """What a file of these bytes held."""
    return Content(len(data), 1, md5=md5(data))


def outgoing(number: int, name: str = "a.pdf", data: bytes = b"x", **columns: str) -> Outgoing:
    """A row on its way."""
    own = LightReachColumns.model_validate({"account_id": "A/1", "type": "utilityBill"} | columns)
    document: Document[Columns] = Document(number, f"k{number}", number, "lightreach", own.target, "/f", name, own)
    return Outgoing(document, content(data))


def remote(identifier: str, *files: tuple[str, bytes], **more: Any) -> RemoteDocument:
    """A document of the vendor's."""
    return RemoteDocument(
        identifier,
        "account:A/1",
        files=tuple(RemoteFile(name, md5=md5(data), size_kb=len(data) // 1024) for name, data in files),
        **({"type": "utilityBill", "created_at": AT} | more),
    )


def said(documents: Sequence[RemoteDocument]) -> list[Reported]:
    """What a job says of documents."""
    files: list[Reported] = []
    for document in documents:
        own = [Reported(document.id, file.name, file.md5, file.size_kb) for file in document.files]
        files += own or [Reported(document.id)]
    return files


# --- init -----------------------------------------------------------------------------------------------------------


def answer_to_init(**changes: object) -> dict[str, Any]:
    """A good answer for one file."""
    file = {
        "uploadUrl": "https://store/%2F?sig=1",
        "contentType": "application/pdf",
        "expiresAt": "2026-01-01T13:00:00.000Z",
    }
    return {"jobId": "j", "status": "awaitingUpload", "files": [file | changes]}


async def test_init_of_several_files() -> None:
    """Files go in order with name and size; ``grouped`` is said for more than one; URLs come back untouched."""
    answer = answer_to_init()
    answer["files"] = [
        answer["files"][0] | {"uploadUrl": f"https://store/{n}?s=%2F", "contentType": f"a/{n}"} for n in "ab"
    ]
    vendor = Vendor(answer, "Thu, 01 Jan 2026 12:00:00 GMT")
    ticket = await ADAPTER.init(vendor, [outgoing(1, "same", b"12"), outgoing(2, "same", b"123")])
    assert vendor.calls == [
        (
            "POST",
            "/api/v2/accounts/A%2F1/documents",
            {
                "files": [{"filename": "same", "size": 2}, {"filename": "same", "size": 3}],
                "type": "utilityBill",
                "fields": {"grouped": False},
            },
            None,
        )
    ]
    assert (ticket.job_id, ticket.remote_ids) == ("j", (None, None))
    assert [(u.method, u.url.value, u.slots, u.headers, u.lifetime) for u in ticket.uploads] == [
        ("PUT", "https://store/a?s=%2F", (0,), (("Content-Type", "a/a"),), 3600.0),
        ("PUT", "https://store/b?s=%2F", (1,), (("Content-Type", "a/b"),), 3600.0),
    ]
    assert not any(upload.auth or upload.single_use or upload.form for upload in ticket.uploads)


@pytest.mark.parametrize(
    ("files", "columns", "fields"),
    [
        (1, {}, None),
        (1, {"group": "g"}, None),
        (1, {"external_reference": "007"}, {"externalReference": "007"}),
        (2, {"group": "g"}, {"grouped": True}),
        (2, {"external_reference": "r"}, {"externalReference": "r", "grouped": False}),
    ],
)
async def test_fields_of_init(files: int, columns: dict[str, str], fields: object) -> None:
    """References stay text; ``grouped`` is explicit wherever it matters."""
    answer = answer_to_init()
    vendor = Vendor(answer | {"files": answer["files"] * files})
    await ADAPTER.init(vendor, [outgoing(n, "a.pdf", b"x", **columns) for n in range(files)])
    assert vendor.calls[0][2].get("fields") == fields


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        answer_to_init() | {"jobId": None},
        answer_to_init() | {"jobId": ""},
        answer_to_init() | {"files": []},
        answer_to_init() | {"files": answer_to_init()["files"] * 2},
        answer_to_init() | {"files": {"0": 1}},
        answer_to_init() | {"files": ["text"]},
        answer_to_init(uploadUrl=None),
        answer_to_init(contentType=7),
    ],
)
async def test_unreadable_init(answer: object) -> None:
    """An init's answer that can't be read counts as lost, and shows no URL."""
    with pytest.raises(StepError) as caught:
        await ADAPTER.init(Vendor(answer), [outgoing(1)])
    failure = caught.value.failure
    assert (failure.code, failure.again, failure.sent, failure.answered) == (
        "unreadable_answer",
        Again.SAME,
        True,
        False,
    )
    assert "sig" not in str(caught.value)


@pytest.mark.parametrize(
    ("expires_at", "date", "lifetime"),
    [
        ("2026-01-01T13:00:00.000Z", "Thu, 01 Jan 2026 12:00:00 GMT", 3600.0),
        ("2026-01-01T14:00:00+02:00", "Thu, 01 Jan 2026 11:59:00 GMT", 60.0),
        ("2026-01-01T13:00:00Z", None, None),
        ("2026-01-01T13:00:00Z", "today", None),
        ("2026-01-01T13:00:00Z", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("2026-01-01T13:00:00", "Thu, 01 Jan 2026 12:00:00 GMT", None),
        ("soon", "Thu, 01 Jan 2026 12:00:00 GMT", None),
        (None, "Thu, 01 Jan 2026 12:00:00 GMT", None),
        (1767272400, "Thu, 01 Jan 2026 12:00:00 GMT", None),
    ],
)
async def test_lifetime_is_by_the_vendors_clock(expires_at: object, date: str | None, lifetime: float | None) -> None:
    """How long a URL lives is told by the answer's own date; where that can't be read, nothing is claimed."""
    ticket = await ADAPTER.init(Vendor(answer_to_init(expiresAt=expires_at), date), [outgoing(1)])
    assert ticket.uploads[0].lifetime == lifetime


# --- login ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "expires_at"),
    [(3600, 4600.0), (0.5, 1000.5), (None, float("inf")), (0, float("inf")), (-5, float("inf")), ("60", float("inf"))],
)
def test_login(lifetime: object, expires_at: float) -> None:
    """The token of the answer is used until it ends; without a credible end, until it is refused."""
    adapter = LightReach(username="me", password="pass-word", login_field="email")
    assert adapter.login() == ("POST", "/api/auth/login", {"email": "me", "password": "pass-word"})
    assert adapter.renewable
    assert adapter.authorize("GET", "/", b"") == {}
    renewed = adapter.logged_in({"access_token": "tok", "expires_in": lifetime}, 1000.0)
    assert renewed.authorize("GET", "/", b"") == {"Authorization": "Bearer tok"}
    assert renewed.expires_at == expires_at
    assert set(renewed.secrets) == {"tok", "pass-word"}
    assert "pass-word" not in repr(renewed) + str(renewed)
    assert "tok" not in repr(renewed).replace("token", "")


@pytest.mark.parametrize("answer", [{}, {"access_token": ""}, {"access_token": 7}, {"token": "t"}])
def test_login_without_a_token(answer: Json) -> None:
    """Such an answer can't be used."""
    with pytest.raises(StepError, match="access_token"):
        LightReach(username="me", password="p").logged_in(answer, 0)


def test_given_token_is_not_renewable() -> None:
    """There is nothing to renew it with."""
    assert not ADAPTER.renewable


# --- finish ---------------------------------------------------------------------------------------------------------


def event_of(*documents: Mapping[str, object], kind: str = "complete") -> Json:
    """A job's last event."""
    return {"type": kind, "documents": list(documents)}


def item(identifier: object, *files: tuple[str, bytes]) -> dict[str, object]:
    """A document object as the guide shows it."""
    listed = [{"originalName": n, "md5Hash": md5(d), "sizeKB": len(d) // 1024, "viewUrls": []} for n, d in files]
    return {"id": identifier, "accountId": "A/1", "type": "utilityBill", "files": listed, "meta": {"createdAt": AT}}


@pytest.mark.parametrize("kind", ["complete", "imageVariantsReady"])
async def test_finish(kind: str) -> None:
    """The job is followed under its quoted id, and each file gets its document."""
    sent = [outgoing(1, "a", b"1"), outgoing(2, "b", b"2")]
    vendor = Vendor(event=event_of(item("D2", ("b", b"2")), item(1, ("a", b"1")), kind=kind))
    got = await ADAPTER.finish(vendor, sent, Ticket("j/&?", (None, None), ()), {})
    assert got == [Receipt("1"), Receipt("D2")]
    (job,) = vendor.jobs
    root = "/api/v2/accounts/A%2F1/documents"
    assert (job.stream, job.poll) == (f"{root}/upload-progress?jobId=j%2F%26%3F", f"{root}/jobs/j%2F%26%3F")
    ends = ["complete", "imageVariantsReady", "failed"]
    others = ["queued", "awaitingUpload", None, 7, ["complete"], {"complete": 1}, "Complete"]
    assert [job.ended({"type": kind}) for kind in ends] == [True] * 3
    assert not any(job.ended({"type": kind}) for kind in others)
    assert not job.ended({})


@pytest.mark.parametrize("error", ["virus in tok-secret", None, "", {"code": 7}])
async def test_failed_job(error: object) -> None:
    """A failed job fails all of its files in the vendor's words, without our token."""
    vendor = Vendor(event={"type": "failed", "error": error})
    got = await ADAPTER.finish(vendor, [outgoing(1), outgoing(2)], Ticket("j", (None, None), ()), {})
    assert [r.failure.code for r in got if r.failure] == ["job_failed"] * 2
    assert all(r.known and r.failure and r.failure.text and "tok-secret" not in r.failure.text for r in got)


@pytest.mark.parametrize("documents", [None, [], {}, [7], [{"files": []}]])
async def test_complete_without_documents(documents: object) -> None:
    """A job that names no document leaves open what became of its files."""
    vendor = Vendor(event={"type": "complete", "documents": documents})
    (got,) = await ADAPTER.finish(vendor, [outgoing(1)], Ticket("j", (None,), ()), {})
    assert (got.document_id, got.known) == (None, False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (orjson.dumps(item("D", ("a", b"1"))), Receipt("D")),
        (orjson.dumps([item("D", ("a", b"1"))]), Receipt("D")),
        (b"", Receipt()),
        (b"created", Receipt()),
        (b'{"ok": true}', Receipt()),
    ],
)
async def test_v1_answer(body: bytes, expected: Receipt) -> None:
    """v1 answers when the document is persisted; its answer's form is not known, an id is taken where there is one."""
    v1: Any = ADAPTER.fallback()
    sent = [outgoing(1, "a", b"1", external_reference="7")]
    ticket = await v1.init(Vendor(), sent)
    (upload,) = ticket.uploads
    assert upload.url.value == "https://next.palmetto.finance/api/accounts/A%2F1/documents"
    assert (upload.auth, upload.single_use) == (True, True)
    assert upload.form.fields == (("type", "utilityBill"), ("grouped", "false"), ("externalReference", "7"))
    assert await v1.finish(Vendor(), sent, ticket, {0: Reply(201, body)}) == [expected]


# --- receipts -------------------------------------------------------------------------------------------------------

NAMES = ["same", "same", "other"]
DATA = [b"1", b"2", b"3"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_receipts_in_any_order(order: tuple[int, ...]) -> None:
    """Files of one name are told apart by their hash, whatever the order of the documents."""
    found = [remote(f"D{n}", (NAMES[n], DATA[n])) for n in order]
    assert receipts(said(found), NAMES, [content(d) for d in DATA]) == [Receipt("D0"), Receipt("D1"), Receipt("D2")]


def test_receipts_of_a_bundle() -> None:
    """Files of one document all get its id."""
    found = [remote("D", *zip(NAMES, DATA, strict=True))]
    assert receipts(said(found), NAMES, [content(d) for d in DATA]) == [Receipt("D")] * 3


@pytest.mark.parametrize("missing", range(3))
def test_missing_document(missing: int) -> None:
    """The file whose document is missing is not known; the others are."""
    found = [remote(f"D{n}", (NAMES[n], DATA[n])) for n in range(3) if n != missing]
    got = receipts(said(found), NAMES, [content(d) for d in DATA])
    assert [r.document_id for r in got] == [None if n == missing else f"D{n}" for n in range(3)]
    lost = got[missing]
    assert lost.failure is not None
    assert (lost.failure.code, lost.known) == ("no_document", False)


def test_sizes_tell_files_apart() -> None:
    """Where the vendor gives no hash, files of one name are told apart by their size."""
    found = [RemoteDocument(f"D{kb}", "", files=(RemoteFile("a", size_kb=kb),)) for kb in (1, 5)]
    assert receipts(said(found), ["a", "a"], [Content(5000, 1), Content(1024, 1)]) == [Receipt("D5"), Receipt("D1")]


def test_identical_files() -> None:
    """Two equal files get two documents, never one twice."""
    found = [remote("D0", ("a", b"1")), remote("D1", ("a", b"1"))]
    assert {r.document_id for r in receipts(said(found), ["a", "a"], [content(b"1")] * 2)} == {"D0", "D1"}


def test_wrong_bytes() -> None:
    """A document of the right name with other bytes is a failure that names it."""
    (got,) = receipts(said([remote("D", ("a", b"other"))]), ["a"], [content(b"1")])
    assert got.document_id == "D"
    assert got.failure is not None
    assert (got.failure.code, got.known) == ("hash_mismatch", True)


def test_documents_that_say_little() -> None:
    """A vendor may rename a file, or list none: what is left over is taken, since nothing speaks against it."""
    bare = RemoteDocument("D0", "account:A/1")
    renamed = RemoteDocument("D1", "account:A/1", files=(RemoteFile("b (1).pdf"),))
    got = receipts(said([bare, renamed]), ["a", "b"], [content(b"1"), content(b"2")])
    assert {r.document_id for r in got} == {"D0", "D1"}
    assert all(r.failure is None for r in got)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([b"1", b"2"])), max_size=6), st.randoms())
def test_every_file_its_own_document(files: list[tuple[str, bytes]], random: Any) -> None:
    """Whatever repeats and whatever the order, each file gets a document of its own with its name and bytes."""
    found = [remote(f"D{n}", file) for n, file in enumerate(files)]
    random.shuffle(found)
    got = receipts(said(found), [name for name, _ in files], [content(data) for _, data in files])
    by_id = {document.id: document for document in found}
    assert len({r.document_id for r in got}) == len(files)
    for (name, data), receipt in zip(files, got, strict=True):
        assert receipt.failure is None
        assert receipt.document_id is not None
        (file,) = by_id[receipt.document_id].files
        assert (file.name, file.md5) == (name, md5(data))


DIGEST = hashlib.md5(b"x").digest()  # noqa: S324


@pytest.mark.parametrize(
    ("reported", "code"),
    [
        (DIGEST.hex(), None),
        (DIGEST.hex().upper(), None),
        (base64.b64encode(DIGEST).decode(), None),
        (None, None),
        ("string", None),
        ("", None),
        ("z" * 32, None),
        ("ab " * 10 + "ab", None),
        (md5(b"y"), "hash_mismatch"),
        (base64.b64encode(bytes(16)).decode(), "hash_mismatch"),
    ],
)
def test_md5_in_either_encoding(reported: str | None, code: str | None) -> None:
    """Hexadecimal or base64; what is neither proves nothing."""
    failure = disproof(RemoteFile("a", md5=reported), content(b"x"))
    assert (failure.code if failure else None) == code


@given(st.integers(0, 10**9))
def test_size_floor_or_nearest(size: int) -> None:
    """``sizeKB`` may be rounded down or to nearest; nothing else fits."""
    sent = Content(size, 1)
    fits = {
        kb for kb in range(size // 1024 - 2, size // 1024 + 4) if disproof(RemoteFile("a", size_kb=kb), sent) is None
    }
    assert fits == {size // 1024, (size + 512) // 1024}


def test_size_of_the_guide() -> None:
    """The guide's sample: 248120 bytes are 242 KB."""
    assert disproof(RemoteFile("a", size_kb=242), Content(248120, 1)) is None


# --- parsing --------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "files", "meta", "viewUrls", "url", "sizeKB", "md5Hash", "originalName", "createdAt"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_anything_can_be_parsed(value: object) -> None:
    """Whatever the vendor lists, what is no document is left out, and nothing raises."""
    for document in parse_all(value):
        assert isinstance(document.id, str)
    for file in reported(value):
        assert isinstance(file.document_id, str)


def test_parse() -> None:
    """The guide's document object; URLs that are signed are not shown."""
    view = {"url": "https://h/k?sig=s3cret", "type": "original", "expiresAt": AT}
    file = {"originalName": "a", "contentType": "a/b", "md5Hash": "m", "sizeKB": 242, "viewUrls": [view, {"type": "x"}]}
    document = parse({"id": 7, "accountId": "A", "archived": True, "externalReference": 12, "files": [file, 1]})
    assert (document.id, document.target, document.archived, document.external_reference) == (
        "7",
        "account:A",
        True,
        "12",
    )
    (parsed,) = document.files
    assert (parsed.name, parsed.content_type, parsed.md5, parsed.size_kb) == ("a", "a/b", "m", 242)
    assert [(url.kind, url.expires_at, url.url.value) for url in parsed.urls] == [("original", AT, view["url"])]
    assert "s3cret" not in repr(document) + repr(parsed.urls)


def test_document_without_an_id() -> None:
    """One document without an id can't be used."""
    with pytest.raises(StepError, match="no id"):
        parse({"files": []})


# --- listing, getting, downloading ----------------------------------------------------------------------------------


async def test_listing() -> None:
    """Archived or not, newest or oldest first, by the guide's parameters."""
    vendor = Vendor([item("D", ("a", b"1"))])
    assert [d.id for d in await ADAPTER.list_documents(vendor, "A 1")] == ["D"]
    await ADAPTER.list_documents(vendor, "A 1", archived=True, newest_first=False)
    path = "/api/v2/accounts/A%201/documents"
    assert vendor.calls == [
        ("GET", path, None, {"archived": "false", "sort": "ID_DESC"}),
        ("GET", path, None, {"archived": "true", "sort": "ID_ASC"}),
    ]


@pytest.mark.parametrize("answer", [{}, {"documents": []}, None, "x", b"<html>"])
async def test_listing_that_is_no_list(answer: object) -> None:
    """It is not taken for an empty list, or everything would be sent again."""
    with pytest.raises(StepError) as caught:
        await ADAPTER.find(Vendor(answer), [Trace(outgoing(1), AT)], frozenset())
    assert caught.value.failure.code == "unreadable_answer"


def viewed(expires_at: str | None) -> dict[str, object]:
    """A document with one file that can be read."""
    views = [
        {"url": "https://h/p", "type": "preview"},
        {"url": "https://h/o", "type": "original", "expiresAt": expires_at},
    ]
    return {"id": "D/1", "files": [{"originalName": "a", "viewUrls": views}]}


@pytest.mark.parametrize(("expires_at", "auth"), [(AT, False), (None, True)])
async def test_download(expires_at: str | None, *, auth: bool) -> None:
    """The original is fetched; the bearer goes along only to a URL that does not expire."""
    vendor = Vendor(viewed(expires_at))
    assert await ADAPTER.download_document(vendor, "A", "D/1") == [("a", b"bytes")]
    assert vendor.fetched == [(SignedUrl("https://h/o"), auth)]
    assert vendor.calls == [("GET", "/api/v2/accounts/A/documents/D%2F1", None, None)]


async def test_download_after_expiry() -> None:
    """An expired URL is made anew once; a second expiry is raised."""
    vendor = Vendor(viewed(AT))
    vendor.expire = 1
    assert await ADAPTER.download_document(vendor, "A", "D") == [("a", b"bytes")]
    assert [call[:2] for call in vendor.calls][1] == ("POST", "/api/v2/accounts/A/documents/D/refresh-urls")
    vendor.expire = 2
    with pytest.raises(StepError):
        await ADAPTER.download_document(vendor, "A", "D")


async def test_archive() -> None:
    """Archiving is a DELETE."""
    vendor = Vendor(b"")
    await ADAPTER.archive_document(vendor, "A", "D")
    assert vendor.calls == [("DELETE", "/api/v2/accounts/A/documents/D", None, None)]


# --- find -----------------------------------------------------------------------------------------------------------


def trace(number: int, name: str = "a.pdf", data: bytes = b"x", at: str = AT, **columns: str) -> Trace:
    """A row that an earlier run left."""
    return Trace(outgoing(number, name, data, **columns), at)


def test_find_what_is_there() -> None:
    """Same name, bytes, type and reference: found, each document once, and none that another row holds."""
    listed = [remote("D3", ("a.pdf", b"x")), remote("D2", ("a.pdf", b"x")), remote("D1", ("a.pdf", b"x"))]
    got = find(listed, [trace(1), trace(2), trace(3)], frozenset({"D2"}))
    assert got == [Receipt("D3"), Receipt("D1"), None]


@pytest.mark.parametrize(
    "document",
    [
        remote("D", ("b.pdf", b"x")),
        remote("D", ("a.pdf", b"y")),
        remote("D", ("a.pdf", b"x"), type="other"),
        remote("D", ("a.pdf", b"x"), external_reference="r"),
        remote("D", ("a.pdf", b"x"), ("b.pdf", b"x")),
        remote("D"),
        remote("D", ("a.pdf", b"x"), created_at="2026-01-01T11:00:00Z"),
    ],
)
def test_find_nothing_else(document: RemoteDocument) -> None:
    """Another name, hash, type, reference or number of files, or an older document, is not the one."""
    assert find([document], [trace(1)], frozenset()) == [None]


@pytest.mark.parametrize(
    "created", ["2026-01-01T11:56:00Z", "2026-01-02T00:00:00Z", None, "yesterday", "2026-01-01T11:00:00"]
)
def test_find_is_lenient_about_time(created: str | None) -> None:
    """Clocks may differ a little, and a time that can't be read proves nothing."""
    assert find([remote("D", ("a.pdf", b"x"), created_at=created)], [trace(1)], frozenset()) == [Receipt("D")]


def test_find_a_bundle() -> None:
    """Rows of one group are one document with exactly their files; another group's is not taken."""
    listed = [remote("D", ("a", b"1"), ("b", b"2"))]
    traces = [trace(1, "a", b"1", group="g"), trace(2, "c", b"3", group="h"), trace(3, "b", b"2", group="g")]
    assert find(listed, traces, frozenset()) == [Receipt("D"), None, Receipt("D")]
    assert find(listed, traces[:2], frozenset()) == [None, None]


def test_find_a_bundle_of_one_name() -> None:
    """Files of one name are told apart: each of them must be there."""
    traces = [trace(1, "a", b"1", group="g"), trace(2, "a", b"2", group="g")]
    assert find([remote("D", ("a", b"2"), ("a", b"1"))], traces, frozenset()) == [Receipt("D")] * 2
    assert find([remote("D", ("a", b"1"), ("a", b"3"))], traces, frozenset()) == [None, None]
    twice = [trace(1, "a", b"1", group="g"), trace(2, "a", b"1", group="g")]
    assert find([remote("D", ("a", b"1"), ("a", b"3"))], twice, frozenset()) == [None, None]
