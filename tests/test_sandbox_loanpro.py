"""The rules of the LoanPro stand-in, by requests as they go over the wire."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import yarl

from bulkup.sandbox import Faults, LoanProOptions, Rule, Sandbox
from tests.test_sandbox_support import Clock, raw

GOOD: dict[str, Any] = {"sectionId": 1, "fileName": "test.jpg", "size": 3, "customFileName": "other_name.jpg"}
INIT = "/Loans(7)/document/upload"
LIST = "/odata.svc/Loans(7)/Documents"
GET = "/odata.svc/Loans(7)/Documents(89)"
UPDATE = "/odata.svc/LoanDocuments(89)"
EXPAND = "?$select=FileAttachment&$expand=FileAttachment"


class Client:
    """Speaks to the stand-in with its token and tenant."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http
        self.headers = {
            "Authorization": f"Bearer {sandbox.loanpro.token}",
            "Autopal-Instance-Id": sandbox.loanpro.instance_id,
            "Content-Type": "application/json",
        }

    async def __call__(self, method: str, path: str, json: object = None, **more: Any) -> tuple[int, Any]:
        """One call: status, and the answer's JSON or text."""
        url = yarl.URL(f"{self.sandbox.url}/loanpro/api/public/api/1{path}", encoded=True)
        body = {"json": json} if json is not None else {}
        async with self.http.request(method, url, **{"headers": self.headers, **body, **more}) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else await answer.text()

    async def init(self, path: str = INIT, **changes: object) -> Any:
        """What a good init is answered."""
        status, answer = await self("POST", path, GOOD | changes)
        assert status == 200, answer
        return answer["d"]

    async def put(self, url: str, body: bytes = b"abc", headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """The bytes, by default without any header of ours."""
        skip = ("Content-Type", "Accept", "User-Agent")
        target = yarl.URL(url, encoded=True)
        async with self.http.put(target, data=body, headers=headers, skip_auto_headers=skip) as answer:
            return answer.status, await answer.text()

    async def uploaded(self, path: str = INIT, **changes: object) -> Any:
        """A document with its bytes: what the init was answered."""
        made = await self.init(path, **changes)
        assert await self.put(made["uploadUrl"]) == (200, "")
        return made


@asynccontextmanager
async def talking(
    *rules: Rule, options: LoanProOptions | None = None, clock: Clock | None = None
) -> AsyncIterator[Client]:
    """A running sandbox, and a client of its LoanPro."""
    made = Sandbox(faults=Faults(rules=rules), options=options or LoanProOptions(), clock=clock or time.time)
    async with made as sandbox, aiohttp.ClientSession() as http:
        yield Client(sandbox, http)


def words(answer: Any) -> str:
    """The message of an error in the default form."""
    assert list(answer) == ["error"]
    return str(answer["error"]["message"]["value"])


# --- init -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["Loans", "Customers"])
async def test_init_has_the_guides_shape(owner: str) -> None:
    """The id is text, the file is renamed with the time, the label comes back, the URL lives 600 s."""
    clock = Clock()
    async with talking(clock=clock) as client:
        made = await client.init(f"/{owner}(7)/document/upload")
        assert list(made) == ["id", "fileName", "uploadUrl", "customFileName", "mime"]
        assert made["id"] == "89"
        assert made["fileName"] == f"test_{clock.now:.0f}.jpg"
        assert made["customFileName"] == "other_name.jpg"
        assert made["mime"] == "image/jpeg"
        url = urlsplit(made["uploadUrl"])
        entity = owner.removesuffix("s") + "Documents"
        assert url.path.endswith(f"/tenants/1/fileAttachments/{entity}/89/{made['fileName']}")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
        assert (query["X-Amz-SignedHeaders"], query["X-Amz-Expires"]) == ("host", "600")
        assert not client.sandbox.breaches


@pytest.mark.parametrize("name", ["scan", "a.tar.gz", ".profile", "größe 1.pdf"])
async def test_any_file_name_is_renamed(name: str) -> None:
    """The name that the vendor gives has the time in it and keeps the extension."""
    async with talking() as client:
        made = await client.uploaded(fileName=name)
        assert re.search(r"_\d{10}(\.|$)", made["fileName"])
        assert made["fileName"].rpartition(".")[2] == name.rpartition(".")[2] or "." not in name[1:]


async def test_only_section_and_name_are_required() -> None:
    """``size`` and ``customFileName`` may be left out; the label is then the name."""
    async with talking() as client:
        status, answer = await client("POST", INIT, {"sectionId": "1", "fileName": "a"})
        assert (status, answer["d"]["customFileName"], answer["d"]["mime"]) == (200, "a", "application/octet-stream")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sectionId": None}, "sectionId is required"),
        ({"sectionId": ""}, "sectionId is required"),
        ({"sectionId": "seven"}, "sectionId must be a number"),
        ({"sectionId": -1}, "sectionId must be a number"),
        ({"sectionId": 1.0}, "sectionId is required"),
        ({"sectionId": True}, "sectionId is required"),
        ({"fileName": None}, "fileName is required"),
        ({"fileName": ""}, "fileName is required"),
        ({"fileName": 7}, "fileName must be text"),
        ({"size": "3"}, "size must be a number"),
        ({"size": 3.0}, "size must be a number"),
        ({"size": -1}, "size must be a number"),
        ({"size": None}, "size must be a number"),
        ({"customFileName": 7}, "customFileName must be text"),
        ({"customFileName": None}, "customFileName is required"),
        ({"description": "x"}, "unknown fields: description"),
    ],
)
async def test_a_bad_init_is_409(change: dict[str, object], said: str) -> None:
    """A missing or invalid field is answered 409 with the reason, and makes no record."""
    async with talking() as client:
        status, answer = await client("POST", INIT, GOOD | change)
        assert status == 409
        assert said in words(answer)
        assert client.sandbox.loanpro.documents == []
        assert len(client.sandbox.breaches) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"x"', b"sectionId=1"])
async def test_a_body_that_is_no_object_is_409(body: bytes) -> None:
    """The payload does not fit the endpoint."""
    async with talking() as client:
        for method, path in (("POST", INIT), ("PUT", UPDATE)):
            await client.init()
            assert (await client(method, path, data=body))[0] == 409


async def test_what_is_not_there_is_409() -> None:
    """A loan, customer or section that does not exist is answered 409, which is no breach of the guide."""
    options = LoanProOptions(owners=frozenset({"loan:7"}), sections=frozenset({"1"}))
    async with talking(options=options) as client:
        await client.init()
        await client.init(sectionId="1")
        for path, body in (
            (INIT, GOOD | {"sectionId": 2}),
            ("/Loans(8)/document/upload", GOOD),
            ("/Customers(7)/document/upload", GOOD),
        ):
            status, answer = await client("POST", path, body)
            assert (status, words(answer)[:11]) == (409, "there is no")
        assert (await client("GET", "/odata.svc/Customers(7)/Documents"))[0] == 409
        assert (await client("GET", f"/odata.svc/Loans(7)/Documents(1){EXPAND}"))[0] == 409
        assert not client.sandbox.breaches
        assert (await client("POST", "/Loans(seven)/document/upload", GOOD))[0] == 409


# --- headers --------------------------------------------------------------------------------------------------------

CALLS = [
    ("POST", INIT, GOOD),
    ("PUT", UPDATE, {"id": 89, "archived": 1, "__update": True, "__id": 89}),
    ("GET", LIST, None),
    ("GET", GET + EXPAND, None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_every_call_needs_three_headers(method: str, path: str, body: object) -> None:
    """A missing or wrong token or tenant is 401; another content type does not fit the endpoint: 409."""
    async with talking() as client:
        await client.init()
        good = client.headers
        for name, value, expected in (
            ("Authorization", None, 401),
            ("Authorization", "Bearer wrong", 401),
            ("Authorization", client.sandbox.loanpro.token, 401),
            ("Autopal-Instance-Id", None, 401),
            ("Autopal-Instance-Id", "1", 401),
            ("Content-Type", "text/plain", 409),
            ("Content-Type", "application/x-www-form-urlencoded", 409),
        ):
            headers = {key: given for key, given in (good | {name: value}).items() if given is not None}
            status, answer = await client(method, path, body, headers=headers)
            assert status == expected, name
            assert words(answer)
        assert len(client.sandbox.breaches) == 7
        assert (await client(method, path, body))[0] == 200
        assert (await client(method, path, body, headers={n.upper(): v for n, v in good.items()}))[0] == 200


async def test_a_get_without_a_content_type_or_with_a_body_is_refused() -> None:
    """The third header is asked of each call, a body of none that reads."""
    async with talking() as client:
        headers = {name: value for name, value in client.headers.items() if name != "Content-Type"}
        assert (await client("GET", LIST, headers=headers, skip_auto_headers=["Content-Type"]))[0] == 409
        assert (await client("GET", LIST, json={}))[0] == 409
        assert len(client.sandbox.breaches) == 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", INIT),
        ("PUT", INIT),
        ("POST", LIST),
        ("POST", UPDATE),
        ("PATCH", UPDATE),
        ("DELETE", UPDATE),
        ("POST", "//Loans(7)/document/upload"),
        ("POST", "/Loans/7/document/upload"),
        ("GET", "/Loans(7)/Documents"),
    ],
)
async def test_a_bad_route_is_404(method: str, path: str) -> None:
    """404 is for paths and methods that there are not, in the form of all errors."""
    async with talking() as client:
        status, answer = await client(method, path)
        assert status == 404
        assert "there is no" in words(answer)
        assert len(client.sandbox.breaches) == 1


# --- the bytes ------------------------------------------------------------------------------------------------------


async def test_bytes_are_put_without_credentials() -> None:
    """Raw bytes, no headers: 200, no body, an ETag. Any Content-Type passes, and a second PUT replaces the first."""
    async with talking() as client:
        made = await client.init()
        url = yarl.URL(made["uploadUrl"], encoded=True)
        async with client.http.put(url, data=b"first", skip_auto_headers=["Content-Type"]) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert re.fullmatch('"[0-9a-f]+"', answer.headers["ETag"])
        assert await client.put(made["uploadUrl"], b"abc", {"Content-Type": "text/html"}) == (200, "")
        (record,) = client.sandbox.loanpro.documents
        assert record.stored is not None
        assert record.stored.read() == b"abc"
        assert not client.sandbox.breaches
        assert not client.sandbox.leaks


@pytest.mark.parametrize("name", ["Authorization", "Autopal-Instance-Id"])
async def test_credentials_on_the_put_are_a_leak(name: str) -> None:
    """The signed URL is all that the store may see."""
    async with talking() as client:
        made = await client.init()
        assert (await client.put(made["uploadUrl"], headers={name: client.headers[name]}))[0] == 403
        assert client.sandbox.leaks == 1


@pytest.mark.parametrize(
    ("spoil", "status", "code"),
    [
        (lambda url: url.replace("/test_", "/other_"), 403, "SignatureDoesNotMatch"),
        (lambda url: re.sub(r"&X-Amz-Expires=\d+", "", url), 400, "AuthorizationQueryParametersError"),
        (lambda url: url.replace("X-Amz-Expires=600", "X-Amz-Expires=900"), 403, "SignatureDoesNotMatch"),
    ],
)
async def test_a_changed_url_is_refused(spoil: Any, status: int, code: str) -> None:
    """The store answers as S3 does."""
    async with talking() as client:
        made = await client.init()
        got, text = await client.put(spoil(made["uploadUrl"]))
        assert got == status
        assert f"<Code>{code}</Code>" in text


async def test_an_unsigned_header_and_a_chunked_body_are_refused() -> None:
    """403 and 501, and nothing is stored."""
    async with talking() as client:
        made = await client.init()
        status, text = await client.put(made["uploadUrl"], headers={"x-amz-acl": "private"})
        assert status == 403
        assert "not signed" in text
        host, _, target = made["uploadUrl"].partition("//")[2].partition("/")
        head = f"PUT /{target} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        answer = await raw(made["uploadUrl"], head.encode() + b"3\r\nabc\r\n0\r\n\r\n")
        assert b"501" in answer.partition(b"\r\n")[0]
        assert client.sandbox.loanpro.documents[0].stored is None


@pytest.mark.parametrize("life", [600, 5])
async def test_a_url_lives_as_long_as_is_said(life: float) -> None:
    """Good until the last second of its life, then 403 with S3's words; a new init makes another record."""
    clock = Clock()
    async with talking(options=LoanProOptions(url_life=life), clock=clock) as client:
        first, second = await client.init(), await client.init()
        clock.now += life
        assert (await client.put(first["uploadUrl"]))[0] == 200
        clock.now += 1
        status, text = await client.put(second["uploadUrl"])
        assert status == 403
        assert "<Code>AccessDenied</Code>" in text
        assert "<Message>Request has expired</Message>" in text
        assert (await client.init())["id"] == "91"


async def test_size_is_enforced_by_a_switch() -> None:
    """By default any number of bytes is a document; whether the vendor counts is not known."""
    for checked in (False, True):
        async with talking(options=LoanProOptions(check_size=checked)) as client:
            made = await client.init(size=99)
            assert (await client.put(made["uploadUrl"]))[0] == 200
            assert (client.sandbox.loanpro.documents[0].stored is None) == checked


# --- update ---------------------------------------------------------------------------------------------------------

FRAME = {"id": 89, "__id": 89, "__update": True}


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"archived": 1}, {"archived": 1}),
        ({"customerVisible": 1}, {"customerVisible": 1}),
        (
            {"sectionId": "5", "description": "this is a description", "fileName": "test.png"},
            {"sectionId": 5, "description": "this is a description", "fileName": "test.png"},
        ),
    ],
)
@pytest.mark.parametrize("owner", ["Loan", "Customer"])
async def test_the_guides_updates(owner: str, change: dict[str, object], shown: dict[str, object]) -> None:
    """The guide's three bodies, at both ways to write the id, with numbers or digits; the document comes back."""
    async with talking() as client:
        await client.uploaded(f"/{owner}s(7)/document/upload")
        for path in (f"/odata.svc/{owner}Documents(89)", f"/odata.svc/{owner}Documents(id=89)"):
            for frame in (FRAME, {"id": "89", "__id": "89", "__update": True}):
                status, answer = await client("PUT", path, frame | change)
                assert status == 200
                assert {name: answer["d"][name] for name in shown} == shown
                assert answer["d"]["active"] == 0
        assert not client.sandbox.breaches


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"__update": None}, "__update"),
        ({"__update": 1}, "__update"),
        ({"__update": "true"}, "__update"),
        ({"__id": None}, "__id is required"),
        ({"__id": 90}, "__id must be"),
        ({"id": None}, "id is required"),
        ({"id": 90}, "id must be"),
        ({"active": 1}, "can't update active"),
        ({"customFileName": "x"}, "can't update customFileName"),
        ({"archived": True}, "archived must be 0 or 1"),
        ({"archived": "1"}, "archived must be 0 or 1"),
        ({"archived": 1.0}, "archived must be 0 or 1"),
        ({"archived": 2}, "archived must be 0 or 1"),
        ({"customerVisible": "yes"}, "customerVisible must be 0 or 1"),
        ({"description": 7}, "description must be text"),
        ({"fileName": ""}, "fileName is required"),
        ({"sectionId": "x"}, "sectionId must be a number"),
    ],
)
async def test_a_bad_update_is_409(change: dict[str, object], said: str) -> None:
    """An update that the guide does not have is answered 409, and changes nothing."""
    async with talking() as client:
        await client.uploaded()
        body = {"archived": 1, **FRAME, **change}
        status, answer = await client("PUT", UPDATE, {name: value for name, value in body.items() if value is not None})
        assert status == 409
        assert said in words(answer)
        assert client.sandbox.loanpro.documents[0].archived == 0


async def test_an_update_changes_something_that_is_there() -> None:
    """Nothing to change, another section, another document, or the other kind of document: 409."""
    async with talking(options=LoanProOptions(sections=frozenset({"1", "5"}))) as client:
        await client.uploaded()
        assert (await client("PUT", UPDATE, FRAME))[0] == 409
        assert (await client("PUT", UPDATE, FRAME | {"sectionId": "5"}))[0] == 200
        for path, body in (
            (UPDATE, FRAME | {"sectionId": "6"}),
            ("/odata.svc/LoanDocuments(90)", FRAME | {"archived": 1}),
            ("/odata.svc/CustomerDocuments(89)", FRAME | {"archived": 1}),
        ):
            status, answer = await client("PUT", path, body)
            assert status == 409
            assert "there is no" in words(answer) or "is not one of" in words(answer)


async def test_the_answer_to_an_update_is_a_switch() -> None:
    """What the vendor answers is not known."""
    async with talking(options=LoanProOptions(update_answer="empty")) as client:
        await client.uploaded()
        assert await client("PUT", UPDATE, FRAME | {"archived": 1}) == (200, "")
        assert client.sandbox.loanpro.documents[0].archived == 1


# --- list, get, download --------------------------------------------------------------------------------------------


async def test_a_list_has_the_shape_of_the_vendors_sdk() -> None:
    """Under ``d.results``, with links to what belongs to each; ``active`` is always 0."""
    clock = Clock()
    async with talking(clock=clock) as client:
        await client.uploaded()
        status, answer = await client("GET", LIST)
        root = f"{client.sandbox.url}/loanpro/api/public/api/1/odata.svc"
        related = ("Loan", "User", "DocSection", "FileAttachment")
        item = {
            "__metadata": {"uri": f"{root}/LoanDocuments(id=89)", "type": "Entity.Document"},
            **{name: {"__deferred": {"uri": f"LoanDocuments(id=89)/{name}"}} for name in related},
            "id": 89,
            "loanId": 7,
            "userId": 7,
            "sectionId": 1,
            "fileAttachmentId": 1089,
            "userName": "Sandbox User",
            "remoteAddress": "192.0.2.1",
            "fileName": "test.jpg",
            "description": "",
            "ip": 3221225985,
            "size": 3,
            "active": 0,
            "created": f"/Date({clock.now:.0f})/",
            "archived": 0,
            "customerVisible": 0,
        }
        assert (status, answer) == (200, {"d": {"results": [item]}})
        await client.uploaded("/Customers(9)/document/upload")
        _, answer = await client("GET", "/odata.svc/Customers(9)/Documents")
        (item,) = answer["d"]["results"]
        assert (item["id"], item["customerId"]) == (90, 9)
        assert "loanId" not in item


async def test_a_list_comes_in_pages() -> None:
    """50 records unless ``$top`` says another number, from ``$start`` on; other parameters are 409."""
    async with talking(options=LoanProOptions(list_summary=True)) as client:
        for _ in range(53):
            await client.init()

        async def ids(query: str) -> list[int]:
            _, answer = await client("GET", LIST + query)
            return [item["id"] for item in answer["d"]["results"]]

        assert await ids("") == await ids("?$top=50") == await ids("?%24top=50&%24start=0") == list(range(89, 139))
        assert await ids("?$start=50") == [139, 140, 141]
        assert await ids("?$top=2&$start=1") == [90, 91]
        assert await ids("?$start=53") == []
        _, answer = await client("GET", f"{LIST}?$top=2&$start=1")
        assert answer["d"]["summary"] == {"start": 1, "pageSize": 2, "total": 53}
        assert not client.sandbox.breaches
        for query in ("?$top=x", "?$top=-1", "?$start=", "?$skip=50", "?$filter=id"):
            assert (await client("GET", LIST + query))[0] == 409


async def test_pages_are_a_switch() -> None:
    """A list may be cut shorter than asked for, or know no pages."""
    for options, lengths in ((LoanProOptions(page=2), [2, 1]), (LoanProOptions(paging=False), [3, 3])):
        async with talking(options=options) as client:
            for _ in range(3):
                await client.init()
            got = [await client("GET", f"{LIST}?$top=50&$start={start}") for start in (0, 2)]
            assert [len(answer["d"]["results"]) for _, answer in got] == lengths


async def test_one_document_with_its_file() -> None:
    """``FileAttachment`` expanded, with a URL that reads the bytes without credentials."""
    async with talking() as client:
        made = await client.uploaded(size=99)
        for path in (GET, "/odata.svc/Loans(7)/Documents(id=89)"):
            status, answer = await client("GET", path + EXPAND)
            assert status == 200
            assert answer["d"]["summary"] == {"start": 0, "pageSize": 50, "total": 0}
            attachment = dict(answer["d"]["FileAttachment"])
            url = attachment.pop("fileUrl")
            root = f"{client.sandbox.url}/loanpro/api/public/api/1/odata.svc"
            assert attachment == {
                "__metadata": {"uri": f"{root}/FileAttachments(id=1089)", "type": "Entity.FileAttachment"},
                "id": 1089,
                "parentType": "Entity.LoanDocument",
                "parentId": 89,
                "fileName": made["fileName"],
                "fileOriginalName": "test.jpg",
                "fileSize": 3,
                "fileMime": "image/jpeg",
            }
            async with client.http.get(yarl.URL(url, encoded=True)) as file:
                assert await file.read() == b"abc"
        for query in ("", "?$select=FileAttachment", "?$expand=DocSection&$select=FileAttachment"):
            assert (await client("GET", GET + query))[0] == 409
        assert (await client("GET", f"/odata.svc/Customers(7)/Documents(89){EXPAND}"))[0] == 409


async def test_a_file_can_be_read_at_the_api() -> None:
    """By its system name and with the three headers; a switch takes its other URL away."""
    async with talking(options=LoanProOptions(file_url=False)) as client:
        made = await client.uploaded()
        _, answer = await client("GET", GET + EXPAND)
        assert answer["d"]["FileAttachment"]["fileUrl"] is None
        path = f"/files/tenants/LoanDocuments(89)/{made['fileName']}"
        assert await client("GET", path) == (200, "abc")
        assert (await client("GET", path, headers={}))[0] == 401
        assert (await client("GET", "/files/tenants/LoanDocuments(89)/test.jpg"))[0] == 409
        assert (await client("GET", path.replace("Loan", "Customer")))[0] == 409
        made = await client.init()
        assert (await client("GET", f"/files/tenants/LoanDocuments(90)/{made['fileName']}"))[0] == 409


@pytest.mark.parametrize("before", ["declared", "empty"])
async def test_a_record_without_bytes(before: Any) -> None:
    """What it says of its file, and whether it is listed, is not known: switches."""
    async with talking(options=LoanProOptions(attachment_before=before)) as client:
        await client.init()
        _, listed = await client("GET", LIST)
        _, answer = await client("GET", GET + EXPAND)
        size = 3 if before == "declared" else None
        assert [item["size"] for item in listed["d"]["results"]] == [size]
        assert answer["d"]["FileAttachment"]["fileSize"] == size
    async with talking(options=LoanProOptions(list_unfinished=False)) as client:
        await client.init()
        assert (await client("GET", LIST))[1] == {"d": {"results": []}}


@pytest.mark.parametrize(("ids", "first", "then"), [("guide", "89", 89), ("text", "89", "89"), ("number", 89, 89)])
async def test_how_ids_are_written_is_a_switch(ids: Any, first: object, then: object) -> None:
    """The guide's init has text, its updates have numbers."""
    async with talking(options=LoanProOptions(ids=ids)) as client:
        assert (await client.uploaded())["id"] == first
        assert (await client("GET", LIST))[1]["d"]["results"][0]["id"] == then


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("value", {"error": {"message": {"value": "sectionId is required"}}}),
        ("message", {"error": {"message": "sectionId is required"}}),
        ("d", {"d": {"error": {"message": {"value": "sectionId is required"}}}}),
        (
            "full",
            {
                "error": {"type": "Sandbox.Refusal", "message": {"value": "sectionId is required"}},
                "warnings": ["nothing was changed"],
            },
        ),
        ("text", "sectionId is required"),
    ],
)
async def test_the_form_of_errors_is_a_switch(form: Any, expected: object) -> None:
    """All that the vendor's SDK understands, and plain text."""
    async with talking(options=LoanProOptions(error_form=form)) as client:
        assert await client("POST", INIT, {"fileName": "a.pdf"}) == (409, expected)


@pytest.mark.parametrize("status", [429, 500])
async def test_faults_have_the_same_form(status: int) -> None:
    """Throttling and breakdowns are not in the vendor's list, and come all the same."""
    async with talking(Rule(kind="status", vendor="loanpro", status=status, message="not now")) as client:
        answer = await client("POST", INIT, GOOD)
        assert answer == (status, {"error": {"message": {"value": "not now"}}})
