"""The object store's presigned POST: what a form must be, and how S3 answers one that is not (B11 to B19)."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator

import orjson
import pytest
import yarl

from bulkup.sandbox import KompliantOptions, Rule
from tests.kompliant import CONTENT, FORM, ORDER, PDF, Client, Made, form, part, sandboxed
from tests.test_sandbox_support import Clock, raw

AUTH = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")


def held(client: Client) -> list[bytes]:
    """What the vendor has of its documents' bytes."""
    return [each.stored.read() for each in client.sandbox.kompliant.documents if each.stored]


def error(text: str, name: str) -> str | None:
    """An element of the store's XML."""
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found and found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")


async def refused(client: Client, made: Made, body: bytes, status: int, code: str) -> str:
    """Post what must be refused: nothing is kept, and it is a breach; the store's text."""
    given, text = await client.post(made.url, body)
    assert (given, error(text, "Code")) == (status, code), text
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<Error>')
    assert error(text, "RequestId")
    assert error(text, "HostId")
    assert held(client) == []
    assert len(client.sandbox.breaches) == 1
    assert made.values["X-Amz-Signature"] not in str(client.sandbox.breaches)
    return text


@pytest.mark.parametrize("content", [CONTENT, b"", bytes(range(256)) * 4000, b"\r\n--x--\r\n"])
async def test_a_good_form_is_stored(content: bytes) -> None:
    """204 without a body, the bytes as they were, no breach."""
    async with sandboxed() as client:
        made = await client.create(len(content))
        assert await client.post(made.url, form(made.fields(), content)) == (204, "")
        assert held(client) == [content]
        assert client.sandbox.breaches == []
        assert client.sandbox.requests["kompliant", "form"] == 1


async def test_a_form_may_be_sent_again() -> None:
    """While it lives, the same form is taken again, and replaces the bytes."""
    async with sandboxed() as client:
        made = await client.create()
        for content in (CONTENT, CONTENT[::-1]):
            assert (await client.post(made.url, form(made.fields(), content)))[0] == 204
        assert held(client) == [CONTENT[::-1]]


async def test_b11_policy_expired() -> None:
    """A form is good until its time is over, then 403 AccessDenied "Policy expired."."""
    clock = Clock()
    async with sandboxed(options=KompliantOptions(url_life=60), clock=clock) as client:
        late, made = await client.create(), await client.create()
        clock.now += 60
        assert (await client.post(made.url, form(made.fields())))[0] == 204
        clock.now += 0.01
        status, text = await client.post(late.url, form(late.fields()))
        assert (status, error(text, "Code")) == (403, "AccessDenied")
        assert error(text, "Message") == "Invalid according to Policy: Policy expired."
        assert len(held(client)) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "v") for name in ORDER if name not in {"policy", "X-Amz-Credential", "X-Amz-Signature"}),
        *((name, None) for name in ("Content-Type", "X-Amz-Security-Token", "x-amz-meta-document-id")),
    ],
)
async def test_b12_a_condition_fails(name: str, value: str | None) -> None:
    """A field that is not as the policy wants it is answered 403 with the condition."""
    async with sandboxed() as client:
        made = await client.create()
        body = form(made.fields({name: value}))
        if name == "Content-Type":  # the file's own header follows the field: only the condition is broken
            line = f"Content-Type: {value}\r\n" if value else ""
            body = body.replace(b"Content-Type: application/pdf\r\n", line.encode())
        text = await refused(client, made, body, 403, "AccessDenied")
        wanted = f'["eq", "${name}", "{made.values[name]}"]'
        assert error(text, "Message") == f"Invalid according to Policy: Policy Condition failed: {wanted}"


async def test_b12_another_access_key() -> None:
    """So is a credential of the same scope with another access key."""
    async with sandboxed() as client:
        made = await client.create()
        _, slash, scope = made.values["X-Amz-Credential"].partition("/")
        body = form(made.fields({"X-Amz-Credential": f"OTHERKEY{slash}{scope}"}))
        text = await refused(client, made, body, 403, "AccessDenied")
        assert '"$X-Amz-Credential"' in (error(text, "Message") or "")


async def test_b13_a_field_without_a_condition() -> None:
    """A field that the policy does not know is answered 403 with its name."""
    async with sandboxed() as client:
        made = await client.create()
        text = await refused(client, made, form(made.fields({"comment": "hello"})), 403, "AccessDenied")
        assert error(text, "Message") == "Invalid according to Policy: Extra input fields: comment"


async def test_fields_beyond_the_guides_nine() -> None:
    """By a switch the vendor returns further fields, and its policy wants them all."""
    async with sandboxed(options=KompliantOptions(more_fields={"x-amz-meta-zone": "eu"})) as client:
        made, other = await client.create(), await client.create()
        assert made.values.keys() == {*ORDER, "x-amz-meta-zone"}
        assert (await client.post(made.url, form(made.fields({"x-amz-meta-zone": "eu"}))))[0] == 204
        status, text = await client.post(other.url, form(other.fields()))
        assert (status, '["eq", "$x-amz-meta-zone", "eu"]' in text) == (403, True)


@pytest.mark.parametrize(
    ("size", "code", "limit"), [(11, "EntityTooLarge", "MaxSizeAllowed"), (9, "EntityTooSmall", "MinSizeAllowed")]
)
async def test_b14_another_size_than_announced(size: int, code: str, limit: str) -> None:
    """A file that is not as large as was announced is answered 400 with both sizes."""
    async with sandboxed() as client:
        made = await client.create(10)
        text = await refused(client, made, form(made.fields(), b"x" * size), 400, code)
        word = "exceeds the maximum" if size > 10 else "is smaller than the minimum"
        assert error(text, "Message") == f"Your proposed upload {word} allowed size"
        assert (error(text, "ProposedSize"), error(text, limit)) == (str(size), "10")


async def test_b15_altered_policy() -> None:
    """A policy that was not signed is answered 403 with itself as what should have been signed."""
    async with sandboxed() as client:
        made = await client.create()
        policy = orjson.loads(base64.b64decode(made.values["policy"]))
        policy["expiration"] = "2099-01-01T00:00:00.000Z"
        altered = base64.b64encode(orjson.dumps(policy)).decode()
        text = await refused(client, made, form(made.fields({"policy": altered})), 403, "SignatureDoesNotMatch")
        assert error(text, "StringToSign") == altered
        assert error(text, "StringToSignBytes") == altered.encode().hex(" ")
        assert error(text, "SignatureProvided") == made.values["X-Amz-Signature"]
        assert error(text, "AWSAccessKeyId") == made.values["X-Amz-Credential"].partition("/")[0]
        assert "CanonicalRequest" not in text


async def test_b15_another_signature() -> None:
    """So is a signature that is not the policy's."""
    async with sandboxed() as client:
        made, other = await client.create(), await client.create()
        body = form(made.fields({"X-Amz-Signature": other.values["X-Amz-Signature"]}))
        await refused(client, made, body, 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("name", [*AUTH, "policy", "key"])
async def test_b16_a_missing_field(name: str) -> None:
    """A form without a field that it can't do without is answered 400, in S3's words with their two blanks."""
    async with sandboxed() as client:
        made = await client.create()
        text = await refused(client, made, form(made.fields({name: None})), 400, "InvalidArgument")
        assert error(text, "Message") == (
            f"Bucket POST must contain a field named '{name}'.  "
            "If it is specified, please check the order of the fields."
        )
        assert (error(text, "ArgumentName"), error(text, "ArgumentValue")) == (name, "")


async def test_b16_signature_after_the_file() -> None:
    """A field after the file counts as missing: the file is last."""
    async with sandboxed() as client:
        made = await client.create()
        signature = ("X-Amz-Signature", made.values["X-Amz-Signature"])
        body = form(made.fields({"X-Amz-Signature": None}), after=[signature])
        status, text = await client.post(made.url, body)
        assert (status, error(text, "ArgumentName")) == (400, "X-Amz-Signature")
        assert held(client) == []
        assert "after the file" in client.sandbox.breaches[0]


async def test_b17_no_auth_fields() -> None:
    """A form without any of the fields that prove who allowed it is answered 403 "Access Denied"."""
    async with sandboxed() as client:
        made = await client.create()
        body = form(made.fields(dict.fromkeys([*AUTH, "policy"])))
        text = await refused(client, made, body, 403, "AccessDenied")
        assert error(text, "Message") == "Access Denied"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": PDF},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": FORM["Content-Type"].replace("form-data", "mixed")},
    ],
)
async def test_b18_not_multipart(headers: dict[str, str]) -> None:
    """A body of another kind is answered 412."""
    async with sandboxed() as client:
        made = await client.create()
        status, text = await client.post(made.url, form(made.fields()), headers)
        assert (status, error(text, "Code")) == (412, "PreconditionFailed")
        assert error(text, "Message") == "At least one of the pre-conditions you specified did not hold"
        assert error(text, "Condition") == "Bucket POST must be of the enclosure-type multipart/form-data"
        assert held(client) == []


@pytest.mark.parametrize("answered", [400, 403])
async def test_b19_temporary_credentials_expired(answered: int) -> None:
    """By a switch the credentials in a form end before the form does: ExpiredToken, 400 or 403."""
    clock = Clock()
    options = KompliantOptions.model_validate({"token_life": 30, "expired_token": answered, "status_delay": 0})
    async with sandboxed(options=options, clock=clock) as client:
        made, late = await client.create(), await client.create()
        clock.now += 30
        assert (await client.post(made.url, form(made.fields())))[0] == 204
        clock.now += 0.01
        status, text = await client.post(late.url, form(late.fields()))
        assert (status, error(text, "Code")) == (answered, "ExpiredToken")
        assert error(text, "Message") == "The provided token has expired."


async def test_the_fields_take_20_kb() -> None:
    """The rest of the form is at most 20 KB."""
    async with sandboxed() as client:
        made = await client.create()
        body = form(made.fields({"comment": "x" * 20_480}))
        await refused(client, made, body, 400, "MaxPostPreDataLengthExceeded")


async def test_a_form_without_its_file() -> None:
    """A form without a file, or with it under another name, is answered 400."""
    async with sandboxed() as client:
        made = await client.create()
        text = await refused(client, made, form(made.fields(), None), 400, "InvalidArgument")
        assert error(text, "ArgumentName") == "file"
    async with sandboxed() as client:
        made = await client.create()
        status, text = await client.post(made.url, form(made.fields(), name="document"))
        assert (status, error(text, "ArgumentName")) == (400, "file")
        assert held(client) == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"no form", FORM),
        (b"", FORM),
        (part("key", "v", "nonsense"), FORM),
        (form([("key", "v")]), {"Content-Type": "multipart/form-data"}),
    ],
)
async def test_a_malformed_form(body: bytes, headers: dict[str, str]) -> None:
    """What is no form, though its head says so, is answered 400."""
    async with sandboxed() as client:
        made = await client.create()
        status, text = await client.post(made.url, body, headers)
        assert (status, error(text, "Code")) == (400, "MalformedPOSTRequest")
        assert client.sandbox.breaches == ["kompliant form: a malformed form"]


async def test_chunked_form() -> None:
    """A chunked body is answered 501 (B6)."""

    async def pieces() -> AsyncIterator[bytes]:
        yield form(made.fields())

    async with sandboxed() as client:
        made = await client.create()
        target = yarl.URL(made.url, encoded=True)
        async with client.http.post(target, data=pieces(), headers=FORM) as answer:
            text = await answer.text()
        assert (answer.status, error(text, "Code")) == (501, "NotImplemented")
        assert error(text, "Header") == "Transfer-Encoding"
        assert held(client) == []


async def test_no_length() -> None:
    """A form without a Content-Length is answered 411."""
    async with sandboxed() as client:
        made = await client.create()
        host = made.url.partition("//")[2].partition("/")[0]
        lines = ["POST /store/kompliant HTTP/1.1", f"Host: {host}", f"Content-Type: {FORM['Content-Type']}"]
        answer = await raw(client.sandbox.url, "\r\n".join([*lines, "Connection: close", "", ""]).encode())
        assert answer.startswith(b"HTTP/1.1 411 ")


async def test_a_short_form_stores_nothing() -> None:
    """A client that leaves in the middle of the file leaves no object."""
    async with sandboxed() as client:
        made = await client.create()
        body = form(made.fields())
        host = made.url.partition("//")[2].partition("/")[0]
        lines = ["POST /store/kompliant HTTP/1.1", f"Host: {host}", f"Content-Type: {FORM['Content-Type']}"]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
        await raw(client.sandbox.url, head + body[:-60], shut=True)
        async with asyncio.timeout(2):
            while client.sandbox.requests.puts.open:  # noqa: ASYNC110 # the gauge has no event
                await asyncio.sleep(0.001)
        assert held(client) == []


@pytest.mark.parametrize("header", ["Authorization", "Cookie", "X-API-Key", "X-API-Auth-Token"])
async def test_a_credential_on_the_form(header: str) -> None:
    """The vendor's credentials on its store's form are answered 403, and counted as a leak."""
    async with sandboxed() as client:
        made = await client.create()
        headers = {**FORM, header: "x"}
        assert (await client.post(made.url, form(made.fields()), headers))[0] == 403
        assert client.sandbox.leaks == 1
        assert held(client) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'name="policy"\r\n', b'name="policy"\r\nContent-Type: text/plain\r\n', "'policy' has a Content-Type"),
        (b'name="policy"\r\n', b'name="policy"; filename="p"\r\n', "'policy' has a Content-Type or a filename"),
        (b'; filename="a.pdf"', b"", "no filename"),
        (b"Content-Type: application/pdf", b"Content-Type: application/octet-stream", "is not that of the form"),
    ],
)
async def test_what_the_guide_has_otherwise(old: bytes, new: bytes, words: str) -> None:
    """What a store would let pass, but the guide's form has otherwise, is stored and a breach."""
    async with sandboxed() as client:
        made = await client.create()
        body = form(made.fields())
        assert old in body
        assert (await client.post(made.url, body.replace(old, new)))[0] == 204
        assert len(client.sandbox.breaches) == 1
        assert words in client.sandbox.breaches[0]


async def test_the_guides_order() -> None:
    """Another order of the fields than the guide's is a breach, though a store does not care."""
    async with sandboxed() as client:
        made = await client.create()
        assert (await client.post(made.url, form(sorted(made.fields()))))[0] == 204
        assert "not in the guide's order" in client.sandbox.breaches[0]


async def test_a_field_twice() -> None:
    """So is a field that comes twice."""
    async with sandboxed() as client:
        made = await client.create()
        body = form([("key", made.values["key"]), *made.fields()])
        await client.post(made.url, body)
        assert any("comes twice" in breach for breach in client.sandbox.breaches)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "RequestTimeout"), (403, "AccessDenied"), (500, "InternalError"), (503, "SlowDown")],
)
async def test_faults_of_the_store(status: int, code: str) -> None:
    """A fault plan makes the store answer as S3 does (B7, B9), also for one file by its name."""
    rule = Rule(kind="status", step="form", status=status, match="bad.pdf", times=1)
    async with sandboxed(rule) as client:
        good, bad = await client.create(), await client.create(name="bad.pdf")
        assert (await client.post(good.url, form(good.fields())))[0] == 204
        given, text = await client.post(bad.url, form(bad.fields()))
        assert (given, error(text, "Code")) == (status, code)
        assert (await client.post(bad.url, form(bad.fields())))[0] == 204
        assert client.sandbox.breaches == []


async def test_a_form_that_is_taken_for_expired() -> None:
    """The fault ``expired_url`` is no breach of the client's."""
    async with sandboxed(Rule(kind="expired_url", times=1)) as client:
        spoilt, good = await client.create(), await client.create()
        status, text = await client.post(spoilt.url, form(spoilt.fields()))
        assert (status, error(text, "Message")) == (403, "Invalid according to Policy: Policy expired.")
        assert (await client.post(good.url, form(good.fields())))[0] == 204
        assert client.sandbox.breaches == []
