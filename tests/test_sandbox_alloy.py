"""The rules of the Alloy stand-in, by requests as they go over the wire."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
import yarl

from bulkup.sandbox import AlloyOptions, Faults, Rule, Sandbox
from tests.test_sandbox_support import Clock, raw

GOOD = {
    "name": "driver_license",
    "extension": "pdf",
    "type": "license",
    "note": "Uploaded from email customer sent",
    "note_author_agent_email": "john.doe@example.com",
}
DOCUMENTS = "/entities/P-1/documents"
OCTETS = {"Content-Type": "application/octet-stream"}
BODY = (400, 4002, "Request Body Validation Failure")
HEADER = (400, 4001, "Header Validation Failure")


class Client:
    """Speaks to the stand-in with its token and secret."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http
        access = sandbox.alloy.access
        self.pair = (access.token, access.secret)
        self.basic = {"Authorization": "Basic " + base64.b64encode(":".join(self.pair).encode()).decode()}

    async def __call__(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> tuple[int, Any]:
        """One call, with the credentials (unless ``headers`` say others): status and JSON."""
        url = yarl.URL(f"{self.sandbox.url}/alloy{path}", encoded=True)
        async with self.http.request(method, url, headers={**self.basic, **(headers or {})}, **more) as answer:
            return answer.status, await answer.json()

    async def described(self, **changes: str) -> Any:
        """What a good describe call is answered."""
        status, answer = await self("POST", DOCUMENTS, json=GOOD | changes)
        assert status == 200, answer
        return answer

    async def put(self, token: str, body: bytes = b"abc", headers: Mapping[str, str] = OCTETS) -> tuple[int, Any]:
        """The bytes of a document."""
        return await self("PUT", f"{DOCUMENTS}/{token}", headers, data=body)

    async def login(self, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """A login; by default with the header alone."""
        url = f"{self.sandbox.url}/alloy/oauth/bearer"
        more: dict[str, Any] = {} if body is None else {"json": body}
        async with self.http.post(url, headers=self.basic if headers is None else headers, **more) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def talking(
    *rules: Rule, options: AlloyOptions | None = None, clock: Clock | None = None
) -> AsyncIterator[Client]:
    """A running sandbox, and a client of its Alloy."""
    made = Sandbox(faults=Faults(rules=rules), options=options or AlloyOptions(), clock=clock or time.time)
    async with made as sandbox, aiohttp.ClientSession() as http:
        yield Client(sandbox, http)


def told(answer: tuple[int, Any]) -> tuple[int, int, str]:
    """Status, minor code and type of an error, whose long envelope is looked at."""
    status, body = answer
    assert list(body) == [
        "status_code",
        "error",
        "timestamp",
        "evaluation_token",
        "entity_token",
        "application_token",
        "application_version_id",
    ]
    assert body["status_code"] == status
    assert len(str(body["timestamp"])) == 13
    error = body["error"]
    assert error["message"]
    assert error["error_token"]
    return status, error["minor_code"], error["type"]


# --- describe and put -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("created", [200, 201])
async def test_a_described_document_has_the_guides_shape(created: Any) -> None:
    """A token, what was said, ``uploaded: false``, milliseconds, no approval, and the note as an object of a list."""
    clock = Clock()
    async with talking(options=AlloyOptions(created=created), clock=clock) as client:
        status, answer = await client("POST", DOCUMENTS, json=GOOD)
        at = round(clock.now * 1000)
        token = answer["document_token"]
        assert status == created
        assert token.startswith("D-")
        assert answer == {
            "document_token": token,
            "type": "license",
            "name": "driver_license",
            "extension": "pdf",
            "uploaded": False,
            "timestamp": at,
            "approved": None,
            "approval_agent_email": None,
            "approval_timestamp": None,
            "notes": [
                {
                    "note": "Uploaded from email customer sent",
                    "note_author_agent_email": "john.doe@example.com",
                    "created_at": at,
                    "updated_at": at,
                }
            ],
        }
        clock.now += 5
        assert await client.put(token) == (200, answer | {"uploaded": True})
        (document,) = client.sandbox.alloy.documents
        assert document.stored is not None
        assert document.stored.read() == b"abc"
        assert not client.sandbox.breaches


async def test_a_note_is_not_needed() -> None:
    """Without one the list of notes is empty; each description makes another token."""
    async with talking() as client:
        body = {name: GOOD[name] for name in ("name", "extension", "type")}
        answers = [await client("POST", DOCUMENTS, json=body) for _ in range(2)]
        assert [answer["notes"] for _, answer in answers] == [[], []]
        assert len({answer["document_token"] for _, answer in answers}) == 2


@pytest.mark.parametrize("kind", ["contract", "license", "passport", "utility", "other", "internal"])
async def test_six_types(kind: str) -> None:
    """The guide's types."""
    async with talking() as client:
        assert (await client.described(type=kind))["type"] == kind


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": None}, "name"),
        ({"extension": None}, "extension"),
        ({"type": None}, "type"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"extension": ""}, "extension"),
        ({"extension": ".pdf"}, "extension"),
        ({"extension": "tar.gz"}, "extension"),
        ({"type": "selfie"}, "type"),
        ({"type": "License"}, "type"),
        ({"note": ["x"]}, "note"),
        ({"note_author_agent_email": "john.doe"}, "note_author_agent_email"),
        ({"size": "3"}, "size"),
    ],
)
async def test_a_bad_description_is_refused(change: dict[str, object], path: str) -> None:
    """400 with 4002, and ``details`` that name the field; nothing is made."""
    async with talking() as client:
        body = {name: value for name, value in (GOOD | change).items() if value is not None}
        answer = await client("POST", DOCUMENTS, json=body)
        assert told(answer) == BODY
        details = answer[1]["error"]["details"]
        assert list(details) == ["message", "path", "type", "context"]
        assert details["path"] == path
        assert client.sandbox.alloy.documents == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"x"'])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """400 with 4002; another content type is 4001."""
    async with talking() as client:
        json_type = {"Content-Type": "application/json"}
        assert told(await client("POST", DOCUMENTS, json_type, data=body)) == BODY
        assert told(await client("POST", DOCUMENTS, {"Content-Type": "text/plain"}, data=json.dumps(GOOD))) == HEADER


async def test_an_agent_must_have_an_account() -> None:
    """An unknown address is refused, which is no breach."""
    async with talking(options=AlloyOptions(agents=frozenset({"john.doe@example.com"}))) as client:
        await client.described()
        answer = await client("POST", DOCUMENTS, json=GOOD | {"note_author_agent_email": "jane@example.com"})
        assert told(answer) == BODY
        assert "jane@example.com" in answer[1]["error"]["message"]
        assert not client.sandbox.breaches


async def test_what_is_required_and_allowed_are_switches() -> None:
    """Neither is published."""
    options = AlloyOptions(required=frozenset({"name"}), extensions=frozenset({"pdf"}))
    async with talking(options=options) as client:
        status, answer = await client("POST", DOCUMENTS, json={"name": "scan"})
        assert (status, answer["extension"], answer["type"]) == (200, None, None)
        await client.described(extension="PDF")
        assert told(await client("POST", DOCUMENTS, json=GOOD | {"extension": "exe"})) == BODY


@pytest.mark.parametrize("content_type", ["application/pdf", "application/octet-stream; charset=binary"])
async def test_bytes_are_octets(content_type: str) -> None:
    """The PUT wants the guide's content type, whatever the file."""
    async with talking() as client:
        token = (await client.described())["document_token"]
        assert told(await client.put(token, headers={"Content-Type": content_type})) == HEADER
        assert client.sandbox.alloy.documents[0].stored is None
        assert len(client.sandbox.breaches) == 1


async def test_bytes_come_with_their_length() -> None:
    """A chunked body, or one without a length, is 411."""
    async with talking() as client:
        token = (await client.described())["document_token"]
        url = f"{client.sandbox.url}/alloy{DOCUMENTS}/{token}"
        for more, body in (("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"), ("", b"")):
            head = (
                f"PUT /alloy{DOCUMENTS}/{token} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.basic['Authorization']}"
                f"\r\nContent-Type: application/octet-stream\r\n{more}Connection: close\r\n\r\n"
            )
            assert b" 411 " in (await raw(url, head.encode() + body)).partition(b"\r\n")[0]
        assert (await client.put(token, b""))[0] == 200


@pytest.mark.parametrize("form", ["object", "array"])
async def test_the_answer_to_the_bytes_is_a_switch(form: Any) -> None:
    """The guide has an object, the OpenAPI file an array of one; ``uploaded`` may stay false."""
    async with talking(options=AlloyOptions(put_answer=form)) as client:
        answer = await client.described()
        expected = answer | {"uploaded": True}
        assert await client.put(answer["document_token"]) == (200, expected if form == "object" else [expected])
    async with talking(options=AlloyOptions(never_uploaded=True)) as client:
        answer = await client.described()
        assert await client.put(answer["document_token"]) == (200, answer)
        assert await client("GET", DOCUMENTS) == (200, [answer])


async def test_sizes_and_a_second_put_are_switches() -> None:
    """A limit of the size, and whether bytes replace others, are not known."""
    async with talking(options=AlloyOptions(max_size=3, overwrite=False)) as client:
        token = (await client.described())["document_token"]
        assert (await client.put(token, b"abcd"))[0] == 413
        assert (await client.put(token))[0] == 200
        assert told(await client.put(token))[:2] == (409, 4091)
        assert not client.sandbox.breaches


# --- list and download ----------------------------------------------------------------------------------------------


async def test_an_entity_lists_its_documents() -> None:
    """An array, of this entity alone, those that wait for their bytes among them (by a switch: not)."""
    for unfinished in (True, False):
        async with talking(options=AlloyOptions(list_unfinished=unfinished)) as client:
            first, second = await client.described(), await client.described()
            await client.put(second["document_token"])
            await client("POST", "/entities/P-2/documents", json=GOOD)
            waiting = [first] if unfinished else []
            assert await client("GET", DOCUMENTS) == (200, [*waiting, second | {"uploaded": True}])
            assert await client("GET", "/entities/P-3/documents") == (200, [])
            assert not client.sandbox.breaches


async def test_what_reads_has_no_parameters_and_no_body() -> None:
    """Neither the list nor a download."""
    async with talking() as client:
        token = (await client.described())["document_token"]
        for path in (DOCUMENTS, f"{DOCUMENTS}/{token}"):
            assert told(await client("GET", f"{path}?limit=5")) == BODY
            assert told(await client("GET", path, json={})) == BODY


async def test_a_download_is_the_bytes() -> None:
    """With a content type that is a switch; before they came 404, or by a switch nothing."""
    for before in ("missing", "empty"):
        options = AlloyOptions(download_before=before, download_type="application/pdf")
        async with talking(options=options) as client:
            token = (await client.described())["document_token"]
            url = f"{client.sandbox.url}/alloy{DOCUMENTS}/{token}"
            async with client.http.get(url, headers=client.basic) as answer:
                assert answer.status == (404 if before == "missing" else 200)
                assert before == "missing" or await answer.read() == b""
            await client.put(token)
            async with client.http.get(url, headers=client.basic) as answer:
                assert (answer.content_type, await answer.read()) == ("application/pdf", b"abc")


async def test_what_is_not_there() -> None:
    """403 with 4013 for an entity, 404 with 4041 for a document or a path."""
    async with talking(options=AlloyOptions(entities=frozenset({"P-1", "P-2"}))) as client:
        token = (await client.described())["document_token"]
        assert told(await client("POST", "/entities/P-3/documents", json=GOOD))[:2] == (403, 4013)
        assert told(await client("GET", f"{DOCUMENTS}/D-none"))[:2] == (404, 4041)
        assert told(await client.put("D-none"))[:2] == (404, 4041)
        assert told(await client("PUT", f"/entities/P-2/documents/{token}", OCTETS, data=b"x"))[:2] == (404, 4041)
        assert not client.sandbox.breaches
        for method, path in (("GET", "/entities/P-1"), ("DELETE", f"{DOCUMENTS}/{token}"), ("GET", f"/{DOCUMENTS}")):
            assert told(await client(method, path))[:2] == (404, 4041)
        assert len(client.sandbox.breaches) == 3


# --- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "Basic wrong", "Bearer wrong", "basic"])
async def test_every_call_needs_credentials(scheme: str) -> None:
    """401 with 4011, also for the PUT, which goes to the API itself."""
    async with talking() as client:
        token = (await client.described())["document_token"]
        given = {"Authorization": scheme}
        for method, path in (
            ("POST", DOCUMENTS),
            ("GET", DOCUMENTS),
            ("PUT", f"{DOCUMENTS}/{token}"),
            ("GET", f"{DOCUMENTS}/{token}"),
        ):
            assert told(await client(method, path, given)) == (401, 4011, "Unauthorized")
        assert len(client.sandbox.breaches) == 4


async def test_a_login_by_the_header() -> None:
    """OAuth2's answer, in seconds; the token is good for all calls until then, and after that 4012."""
    clock = Clock()
    async with talking(clock=clock) as client:
        for body in ({}, {"grant_type": "client_credentials"}):
            assert (await client.login(body))[0] == 200
        status, answer = await client.login()
        assert (status, list(answer)) == (200, ["access_token", "token_type", "expires_in"])
        assert (answer["token_type"], answer["expires_in"]) == ("bearer", 3600)
        bearer = {"Authorization": f"Bearer {answer['access_token']}"}
        clock.now += 3599
        _, document = await client("POST", DOCUMENTS, bearer, json=GOOD)
        assert (await client("PUT", f"{DOCUMENTS}/{document['document_token']}", bearer | OCTETS, data=b"x"))[0] == 200
        assert (await client("GET", DOCUMENTS, bearer))[0] == 200
        clock.now += 1
        expired = await client("GET", DOCUMENTS, bearer)
        assert told(expired)[:2] == (401, 4012)
        assert "The supplied bearer token has expired" in expired[1]["error"]["message"]
        assert not client.sandbox.breaches


async def test_a_token_can_end_early() -> None:
    """After so many calls, where a test says so, and whatever the login said."""
    async with talking() as client:
        client.sandbox.alloy.access.uses = 2
        for _ in range(2):
            bearer = {"Authorization": f"Bearer {(await client.login())[1]['access_token']}"}
            assert [(await client("GET", DOCUMENTS, bearer))[0] for _ in range(3)] == [200, 200, 401]


async def test_a_login_by_the_body() -> None:
    """The former answer, in milliseconds since the epoch."""
    clock = Clock()
    async with talking(clock=clock) as client:
        token, secret = client.pair
        body = {"application_token": token, "application_secret": secret, "grant_type": "client_credentials"}
        status, answer = await client.login(body, {})
        assert (status, list(answer)) == (200, ["bearer_token", "expires"])
        assert answer["expires"] == round((clock.now + 3600) * 1000)
        assert (await client("GET", DOCUMENTS, {"Authorization": f"Bearer {answer['bearer_token']}"}))[0] == 200


@pytest.mark.parametrize(("form", "name"), [("oauth", "access_token"), ("former", "bearer_token")])
async def test_the_form_of_a_logins_answer_is_a_switch(form: Any, name: str) -> None:
    """Whatever was asked."""
    async with talking(options=AlloyOptions(login_answer=form)) as client:
        assert name in (await client.login())[1]


async def test_a_bad_login() -> None:
    """Errors in the short form: 4001 for no credentials, 4002 for a bad body, 4011 for wrong ones."""
    async with talking() as client:
        token, secret = client.pair
        body = {"application_token": token, "application_secret": secret, "grant_type": "client_credentials"}
        wrong = base64.b64encode(f"{token}:x".encode()).decode()
        for given, headers, expected in (
            ({"grant_type": "client_credentials"}, {}, (400, 4001)),
            (body, client.basic, (400, 4002)),
            (body | {"grant_type": "password"}, {}, (400, 4002)),
            ({"application_token": token, "application_secret": secret}, {}, (400, 4002)),
            ({"scope": "all"}, client.basic, (400, 4002)),
            (["x"], client.basic, (400, 4002)),
            (body | {"application_secret": "x"}, {}, (401, 4011)),
            ({"application_token": token, "grant_type": "client_credentials"}, {}, (401, 4011)),
            (None, {"Authorization": f"Basic {wrong}"}, (401, 4011)),
        ):
            status, answer = await client.login(given, headers)
            assert list(answer) == ["error"]
            assert (status, answer["error"]["minor_code"]) == expected
            assert {"type", "message"} <= set(answer["error"])


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", ["all", "reset"])
@pytest.mark.parametrize("step", ["login", "init", "put", "list", "download"])
async def test_429_has_alloys_headers(step: str, headers: Any) -> None:
    """``retry-after`` (by a switch: not) and the three of the rate limit, with 4033; the time is the stand-in's."""
    clock = Clock()
    options = AlloyOptions(rate_headers=headers, rate_reset=2)
    rule = Rule(kind="status", vendor="alloy", step=step, status=429)
    async with talking(rule, options=options, clock=clock) as client:
        token = "D-none" if step == "init" else (await client.described())["document_token"]
        path = {"login": "/oauth/bearer", "init": DOCUMENTS, "list": DOCUMENTS}.get(step, f"{DOCUMENTS}/{token}")
        method = {"login": "POST", "init": "POST", "put": "PUT"}.get(step, "GET")
        url = f"{client.sandbox.url}/alloy{path}"
        async with client.http.request(method, url, headers=client.basic) as answer:
            body = await answer.json()
            assert (answer.status, body["error"]["minor_code"]) == (429, 4033)
            assert answer.headers.get("retry-after") == ("2" if headers == "all" else None)
            assert answer.headers["alloy-ratelimit-limit"] == "100"
            assert answer.headers["alloy-ratelimit-remaining"] == "0"
            reset = int(answer.headers["alloy-ratelimit-reset"])
            assert reset - parsedate_to_datetime(answer.headers["Date"]).timestamp() == 2
            assert ("status_code" in body) == (step != "login")


@pytest.mark.parametrize(("status", "minor"), [(500, 5000), (502, 5000), (503, 5031)])
async def test_a_breakdown_has_the_long_form(status: int, minor: int) -> None:
    """With an error token to ask the vendor about."""
    async with talking(Rule(kind="status", vendor="alloy", step="init", status=status)) as client:
        assert told(await client("POST", DOCUMENTS, json=GOOD))[:2] == (status, minor)


@pytest.mark.parametrize(("form", "kind"), [("object", dict), ("list", list), ("none", type(None))])
async def test_how_details_are_written_is_a_switch(form: Any, kind: type) -> None:
    """An object, a list of one, or none."""
    async with talking(options=AlloyOptions(details=form)) as client:
        answer = await client("POST", DOCUMENTS, json={})
        assert told(answer) == BODY
        assert isinstance(answer[1]["error"]["details"], kind)
