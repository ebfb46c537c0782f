"""The rules of the Auco stand-in, by raw requests."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yarl

from bulkup.sandbox import AucoOptions, Faults, Rule, Sandbox
from tests.test_sandbox_support import Clock

PDF = b"%PDF-1.7 a contract"
BASE64 = base64.b64encode(PDF).decode()
ANA = {"name": "Ana Ruiz", "email": "ana@example.com", "phone": "+57 300 123 4567"}
LUIS = {"name": "Luis Mora", "email": "luis@example.com", "phone": "+57 300 765 4321"}
PROCESS: dict[str, Any] = {
    "email": "owner@example.com",
    "name": "Contract",
    "subject": "Please sign",
    "message": "Two pages",
    "signProfile": [ANA, LUIS],
}
INLINE = PROCESS | {"file": BASE64}
BY_URL = PROCESS | {"compress": True}
PACKAGE = BY_URL | {"packageName": "Contracts of May"}
TYPED = {"Content-Type": "application/pdf"}
UPLOAD, PACKAGES = "/document/upload", "/package/upload"


class Auco:
    """Speaks to the stand-in."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession, clock: Clock) -> None:
        self.sandbox = sandbox
        self.http = http
        self.clock = clock

    async def call(
        self, method: str, path: str, key: str | None, body: object = None, kind: str = "application/json"
    ) -> tuple[int, Any]:
        """One call with this key and body (bytes go as they are): status, and JSON or text."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": kind} | ({} if key is None else {"Authorization": key})
        async with self.http.request(method, f"{self.sandbox.url}/auco{path}", data=data, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def create(self, body: object, path: str = UPLOAD) -> tuple[int, Any]:
        """A create call with the private key."""
        return await self.call("POST", path, self.sandbox.auco.private_key, body)

    async def get(self, path: str) -> tuple[int, Any]:
        """A read with the public key."""
        return await self.call("GET", path, self.sandbox.auco.public_key)

    async def put(self, url: str, body: bytes = PDF, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """A PUT to a signed URL, without a Content-Type unless one is given."""
        target = yarl.URL(url, encoded=True)
        async with self.http.put(target, data=body, headers=headers, skip_auto_headers=("Content-Type",)) as answer:
            return answer.status, await answer.text()

    async def refused(self, body: object, words: str, path: str = UPLOAD, *, breach: bool = True) -> Mapping[str, str]:
        """A create call that is answered 400 with these words, creates nothing and, mostly, is a breach."""
        before = len(self.sandbox.breaches)
        status, error = await self.create(body, path)
        assert (status, set(error)) == (400, {"message", "code"}), error
        assert words in error["message"]
        assert self.sandbox.auco.processes == []
        assert len(self.sandbox.breaches) == before + breach
        return dict(error)


@asynccontextmanager
async def auco(options: AucoOptions | None = None, *rules: Rule) -> AsyncIterator[Auco]:
    """A running stand-in with these switches and faults."""
    clock = Clock()
    faults = Faults(seed=5, rules=rules)
    async with (
        Sandbox(options=options or AucoOptions(), faults=faults, clock=clock) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        yield Auco(sandbox, http, clock)


def signers(**change: object) -> dict[str, Any]:
    """A good process, whose second signer is another."""
    return INLINE | {"signProfile": [ANA, {**LUIS, **change}]}


def day(clock: Clock, days: float) -> str:
    """A JSON date so many days ahead."""
    moment = datetime.fromtimestamp(clock.now + days * 86_400, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- what goes well -----------------------------------------------------------------------------------------------


async def test_pdf_inside() -> None:
    """A PDF in base64 is answered with package and code, and nothing else; the PDF is stored as it was."""
    async with auco() as client:
        status, answer = await client.create(INLINE)
        assert (status, set(answer)) == (200, {"package", "code"})
        (process,) = client.sandbox.auco.processes
        assert (process.code, process.package) == (answer["code"], answer["package"])
        assert process.fields == PROCESS
        assert process.stored is not None
        assert process.stored.read() == PDF
        assert client.sandbox.breaches == []


@pytest.mark.parametrize(("body", "path"), [(BY_URL, UPLOAD), (PACKAGE, PACKAGES)])
async def test_pdf_by_url(body: dict[str, Any], path: str) -> None:
    """Compress is answered with package, code and url; the PUT takes the bytes, empty-handed, and answers 200."""
    async with auco() as client:
        status, answer = await client.create(body, path)
        assert (status, set(answer)) == (200, {"package", "code", "url"})
        (process,) = client.sandbox.auco.processes
        assert process.stored is None
        assert await client.put(answer["url"]) == (200, "")
        assert process.stored is not None
        assert process.stored.read() == PDF
        assert client.sandbox.breaches == []


async def test_newer_answers() -> None:
    """By a switch ``/document/upload`` answers as newer docs say; ``/package/upload`` still as the guide."""
    async with auco(AucoOptions(generation="newer", created=201)) as client:
        assert (await client.create(INLINE))[0] == 201
        assert set((await client.create(INLINE))[1]) == {"document"}
        assert set((await client.create(BY_URL))[1]) == {"document", "url"}
        assert set((await client.create(PACKAGE, PACKAGES))[1]) == {"package", "code", "url"}


async def test_the_guides_first_sample() -> None:
    """The sample with reminders, a reader, labels, and no phone passes."""
    body = {
        "name": "Documento de prueba",
        "subject": "prueba auco",
        "message": "prueba auco",
        "remember": 3,
        "email": "example@auco.ai",
        "signProfile": [{"name": "Jhon Firma", "email": "example@auco.ai", "label": True}],
        "readers": [{"email": "example2@auco.ai", "name": "Frimante 1"}],
        "file": BASE64,
    }
    async with auco(AucoOptions(newer_fields=False)) as client:
        assert (await client.create(body))[0] == 200


async def test_the_guides_second_sample() -> None:
    """The package with validations for each signer passes, also strictly; with one phone for two it does not."""
    first = {
        "type": "firmante1",
        "name": "Nombre Firmante 1",
        "email": "example@auco.ai",
        "camera": True,
        "otpCode": True,
        "options": {"camera": "identification", "video": True, "whatsapp": True, "otpCode": "email"},
        "phone": "+573000000000",
    }
    second = {
        "type": "firmante2",
        "name": "Nombre Firmante 2",
        "email": "example2@auco.ai",
        "phone": "+573000000001",
        "otpCode": True,
        "options": {"otpCode": "email"},
    }
    async with auco(AucoOptions(strict=True, newer_fields=False)) as client:
        repeated = PACKAGE | {"signProfile": [first, second | {"phone": "+573000000000"}]}
        await client.refused(repeated, "signProfile[1].phone is repeated", PACKAGES)
        assert (await client.create(PACKAGE | {"signProfile": [first, second]}, PACKAGES))[0] == 200


async def test_all_fields() -> None:
    """Every field of the guide's table is taken, and those of newer docs."""
    async with auco() as client:
        signer = ANA | {
            "role": "APPROVER",
            "order": "1",
            "label": True,
            "position": [{"page": 1}],
            "type": ["co-signer"],
            "options": {"otpCode": "email"},
            "camera": False,
            "otpCode": True,
            "both": False,
        }
        more = {
            "signProfile": [signer, LUIS],
            "document": "T-1",
            "folder": "/2026/May",
            "remember": 24,
            "expiredDate": day(client.clock, 3.01),
            "camera": False,
            "otpCode": True,
            "options": {"otpCode": "phone"},
            "notification": False,
            "readers": [{"name": "Office", "email": "office@example.com"}],
            "custom": {"order": "4711"},
        }
        assert (await client.create(INLINE | more))[0] == 200
        (process,) = client.sandbox.auco.processes
        assert process.fields == PROCESS | more


async def test_nothing_but_attachments() -> None:
    """A package with no PDF at all is answered with the package alone, and has no code."""
    async with auco() as client:
        body = {name: value for name, value in PACKAGE.items() if name != "compress"}
        status, answer = await client.create(body, PACKAGES)
        assert (status, set(answer)) == (200, {"package"})
        status, package = await client.get(f"/document?package={answer['package']}")
        assert (status, package["codes"]) == (200, [])


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "prk_wrong", "public", "Bearer"])
async def test_creating_takes_the_private_key(key: str | None) -> None:
    """No key, a wrong one, the public one, or a ``Bearer`` before the right one is answered 401."""
    async with auco() as client:
        stand_in = client.sandbox.auco
        known = {"public": stand_in.public_key, "Bearer": f"Bearer {stand_in.private_key}"}
        for path, body in ((UPLOAD, INLINE), (PACKAGES, PACKAGE), ("/document/cancel", {})):
            status, error = await client.call("POST", path, known.get(key or "", key), body)
            assert (status, error["code"]) == (401, "UNAUTHORIZED")
        assert stand_in.processes == []
        assert len(client.sandbox.breaches) == 3


@pytest.mark.parametrize("key", [None, "puk_wrong", "private"])
async def test_reading_takes_the_public_key(key: str | None) -> None:
    """No key, a wrong one or the private one is answered 401."""
    async with auco() as client:
        code = (await client.create(INLINE))[1]["code"]
        given = client.sandbox.auco.private_key if key == "private" else key
        for path in (f"/document?code={code}", f"/attachments?code={code}"):
            assert (await client.call("GET", path, given))[0] == 401


async def test_the_wrong_content_type() -> None:
    """A create call that does not say it is JSON is refused."""
    async with auco() as client:
        key = client.sandbox.auco.private_key
        status, error = await client.call("POST", UPLOAD, key, INLINE, "text/plain")
        assert status == 400
        assert "application/json" in error["message"]


# --- what a create call must be -----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"x"'])
async def test_malformed_json(body: bytes) -> None:
    """A body that is no JSON object is refused."""
    async with auco() as client:
        await client.refused(body, "JSON")


@pytest.mark.parametrize("name", ["email", "name", "message", "subject", "signProfile"])
@pytest.mark.parametrize("value", ["absent", "", " ", None, []])
async def test_required_fields(name: str, value: object) -> None:
    """A required field that is absent, blank, null or empty is refused by its name."""
    body = {field: given for field, given in INLINE.items() if field != name}
    async with auco() as client:
        await client.refused(body if value == "absent" else body | {name: value}, name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"email": "owner @example.com"}, "email must be an email address"),
        ({"email": "owner"}, "email must be an email address"),
        ({"name": 7}, "name must be String"),
        ({"document": 7}, "document must be String"),
        ({"folder": None}, "folder must be String"),
        ({"remember": 4}, "multiple of 3"),
        ({"remember": 0}, "multiple of 3"),
        ({"remember": -3}, "multiple of 3"),
        ({"remember": 4.5}, "multiple of 3"),
        ({"remember": "3"}, "remember must be Number"),
        ({"remember": True}, "remember must be Number"),
        ({"remember": None}, "remember must be Number"),
        ({"expiredDate": 1_900_000_000}, "expiredDate must be Date"),
        ({"expiredDate": "2100-01-31"}, "JSON date"),
        ({"expiredDate": "2100-01-31T00:00:00+00:00"}, "JSON date"),
        ({"expiredDate": "2100-02-31T00:00:00.000Z"}, "JSON date"),
        ({"camera": "true"}, "camera must be Boolean"),
        ({"otpCode": 1}, "otpCode must be Boolean"),
        ({"options": []}, "options must be Object"),
        ({"notification": "no"}, "notification must be Boolean"),
        ({"compress": "true"}, "compress must be Boolean"),
        ({"compress": True}, "file and compress exclude each other"),
        ({"file": None}, "file must be String"),
        ({"file": "data:application/pdf;base64," + BASE64}, "base64"),
        ({"file": BASE64 + "\n"}, "base64"),
        ({"file": BASE64[:-1]}, "base64"),
        ({"file": base64.b64encode(b"GIF89a").decode()}, "must be a PDF"),
        ({"file": ""}, "must be a PDF"),
        ({"readers": {}}, "readers must be Array"),
        ({"readers": ["a@example.com"]}, "readers[0] must be Object"),
        ({"readers": [{"name": "A"}]}, "readers[0].email is required"),
        ({"readers": [{"email": "a@example.com"}]}, "readers[0].name is required"),
        ({"readers": [{"name": "A", "email": "a"}]}, "readers[0].email must be an email address"),
        ({"signProfile": {"0": ANA}}, "signProfile must be Array"),
        ({"signProfile": [ANA, "luis@example.com"]}, "signProfile[1] must be Object"),
        ({"packageName": "May"}, "packageName belongs to /package/upload"),
        ({"custom": "x"}, "custom must be Object"),
        ({"sign_profile": []}, "unknown: sign_profile"),
        ({"data": {}}, "unknown: data"),
    ],
)
async def test_broken_rule(change: dict[str, Any], words: str) -> None:
    """A field of another type or value than the guide's is refused, and nothing is created."""
    async with auco() as client:
        await client.refused(INLINE | change, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "name is required"),
        ({"email": None}, "email is required"),
        ({"email": "luis"}, "email must be an email address"),
        ({"email": "ANA@example.com"}, "email is repeated"),
        ({"phone": "+573001234567"}, "phone is repeated"),
        ({"phone": "0057 (300) 1234567"}, "phone is repeated"),
        ({"phone": 573007654321}, "phone must be String"),
        ({"phone": "none"}, "phone must be a phone number"),
        ({"role": "signer"}, "APPROVER or SIGNER"),
        ({"order": 1}, "order must be String"),
        ({"order": ["1"]}, "order must be String"),
        ({"label": "yes"}, "label must be Boolean"),
        ({"position": {}}, "position must be Array"),
        ({"type": 1}, "type must be String or Array"),
        ({"options": "email"}, "options must be Object"),
        ({"camera": 1}, "camera must be Boolean"),
        ({"otpCode": None}, "otpCode must be Boolean"),
        ({"both": "x"}, "both must be Boolean"),
        ({"otp_code": True}, "unknown: signProfile[1].otp_code"),
    ],
)
async def test_broken_signer(change: dict[str, Any], words: str) -> None:
    """A signer with a field of another type or value than the guide's, or like another signer, is refused."""
    async with auco() as client:
        await client.refused(signers(**change), words)


@pytest.mark.parametrize(("days", "good"), [(-1, False), (2, False), (3, False), (3.001, True)])
async def test_the_end_is_more_than_three_days_ahead(days: float, good: bool) -> None:  # noqa: FBT001 - a parameter
    """A process may not end within three days of its creation; exactly three are too few."""
    async with auco() as client:
        body = INLINE | {"expiredDate": day(client.clock, days)}
        if good:
            assert (await client.create(body))[0] == 200
        else:
            await client.refused(body, "more than 3 days")


async def test_a_process_is_about_something() -> None:
    """Without file, compress and document there is nothing to sign; ``compress: false`` is none of them."""
    async with auco() as client:
        await client.refused(PROCESS, "file, compress or document is required")
        await client.refused(PROCESS | {"compress": False}, "file, compress or document is required")
        assert (await client.create(PROCESS | {"document": "T-1"}))[0] == 200
        assert (await client.create(INLINE | {"compress": False}))[0] == 200


@pytest.mark.parametrize(
    ("change", "words", "code"),
    [
        ({"packageName": ""}, "packageName is required", "VALIDATION_ERROR"),
        ({"notification": True}, "notification is not supported", "SIGNER_NOTIFICATION_NOT_SUPPORTED"),
        (
            {"signProfile": [ANA | {"notification": False}]},
            "signProfile[0].notification is not supported",
            "SIGNER_NOTIFICATION_NOT_SUPPORTED",
        ),
        ({"file": BASE64}, "file and compress exclude each other", "VALIDATION_ERROR"),
        ({"document": "T-1"}, "compress and document exclude each other", "VALIDATION_ERROR"),
        ({"compress": False, "file": BASE64, "document": "T"}, "file and document exclude", "VALIDATION_ERROR"),
    ],
)
async def test_broken_package(change: dict[str, Any], words: str, code: str) -> None:
    """A package needs its name, takes one source, and no ``notification``."""
    async with auco() as client:
        assert (await client.refused(PACKAGE | change, words, PACKAGES))["code"] == code


# --- switches -----------------------------------------------------------------------------------------------------


async def test_folders() -> None:
    """By a switch, only the folders that exist are taken; asking for another is no breach of a rule."""
    async with auco(AucoOptions(folders=frozenset({"/a"}))) as client:
        await client.refused(INLINE | {"folder": "/b"}, "there is no folder /b", breach=False)
        assert (await client.create(INLINE | {"folder": "/a"}))[0] == 200
        assert (await client.create(INLINE))[0] == 200


async def test_only_small_files_inside() -> None:
    """By a switch, a PDF in base64 may have so many bytes."""
    async with auco(AucoOptions(max_inline=len(PDF) - 1)) as client:
        await client.refused(INLINE, "use compress", breach=False)
    async with auco(AucoOptions(max_inline=len(PDF))) as client:
        assert (await client.create(INLINE))[0] == 200


async def test_any_bytes_inside() -> None:
    """By a switch, the content is not looked at."""
    async with auco(AucoOptions(check_pdf=False)) as client:
        assert (await client.create(INLINE | {"file": base64.b64encode(b"GIF89a").decode()}))[0] == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"signProfile": [{"name": "A", "email": "a@example.com"}]}, "signProfile[0].phone is required"),
        ({"options": {"otpCode": "email"}}, "options need camera or otpCode"),
        ({"options": {}, "camera": False}, "options need camera or otpCode"),
        ({"signProfile": [ANA | {"options": {}}], "otpCode": True}, "signProfile[0].options need camera or otpCode"),
    ],
)
async def test_strict(change: dict[str, Any], words: str) -> None:
    """By a switch, phones are required, and options need what they are options of, at their own level."""
    async with auco(AucoOptions(strict=True)) as client:
        await client.refused(INLINE | change, words)
        assert (await client.create(INLINE | {"options": {}, "camera": True}))[0] == 200
    async with auco() as client:
        assert (await client.create(INLINE | change))[0] == 200


@pytest.mark.parametrize(
    ("places", "good"),
    [({}, False), ({"label": False}, False), ({"label": True, "type": "x"}, False), ({"position": [1]}, True)],
)
async def test_strict_package(places: dict[str, Any], good: bool) -> None:  # noqa: FBT001 - a parameter
    """By the same switch, each signer of a package has exactly one of type, label and position."""
    body = PACKAGE | {"signProfile": [ANA | places]}
    async with auco(AucoOptions(strict=True)) as client:
        if good:
            assert (await client.create(body, PACKAGES))[0] == 200
        else:
            await client.refused(body, "exactly one of type, label, position", PACKAGES)
    async with auco() as client:
        assert (await client.create(body, PACKAGES))[0] == 200


@pytest.mark.parametrize(
    "more", [{"custom": {}}, {"tags": []}, {"code": "X"}, {"signProfile": [ANA | {"files": []}]}], ids=str
)
async def test_fields_of_newer_docs(more: dict[str, Any]) -> None:
    """What only newer docs know is taken, unless a switch says that the environment is the guide's."""
    async with auco() as client:
        assert (await client.create(INLINE | more))[0] == 200
    async with auco(AucoOptions(newer_fields=False)) as client:
        await client.refused(INLINE | more, "unknown")


@pytest.mark.parametrize(("form", "body"), [("text", "name is required"), ("empty", "")])
async def test_error_forms(form: str, body: str) -> None:
    """By a switch, a refusal is plain text, or has no body; so is one of the fault plan."""
    down = Rule(kind="status", vendor="auco", step="get", status=503, message="name is required")
    async with auco(AucoOptions.model_validate({"error_form": form}), down) as client:
        assert await client.create(INLINE | {"name": ""}) == (400, body)
        assert await client.get("/document?code=X") == (503, body)
        assert (await client.get("/nothing"))[0] == 404
        assert len(client.sandbox.breaches) == 2


@pytest.mark.parametrize(("notifies", "told"), [("at_once", [True, True]), ("with_bytes", [False, True])])
async def test_when_signers_are_told(notifies: str, told: list[bool]) -> None:
    """By a switch, signers hear of a process when its bytes come; not at all, where the call says so."""
    async with auco(AucoOptions.model_validate({"notifies": notifies})) as client:
        url = (await client.create(BY_URL))[1]["url"]
        (process,) = client.sandbox.auco.processes
        seen = [process.notified]
        await client.put(url)
        assert [*seen, process.notified] == told
        await client.create(INLINE | {"notification": False})
        assert not client.sandbox.auco.processes[1].notified


# --- the signed URL -----------------------------------------------------------------------------------------------


def error_of(answer: tuple[int, str]) -> tuple[int, str, str]:
    """Status, code and message of a store's error."""
    status, text = answer
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<Error>')
    (code,), (message,) = re.findall(r"<Code>(.*?)</Code>", text), re.findall(r"<Message>(.*?)</Message>", text)
    return status, code, message


async def test_a_second_put_is_refused() -> None:
    """The URL is single use: a second PUT is answered 403 and changes nothing."""
    async with auco() as client:
        url = (await client.create(BY_URL))[1]["url"]
        assert (await client.put(url))[0] == 200
        assert error_of(await client.put(url, b"%PDF-1.7 other")) == (403, "AccessDenied", "Access Denied")
        (process,) = client.sandbox.auco.processes
        assert process.stored is not None
        assert process.stored.read() == PDF
        assert len(client.sandbox.breaches) == 1


@pytest.mark.parametrize("life", [5, 300])
async def test_a_late_put_is_refused(life: float) -> None:
    """The URL lives 5 s, or as a switch says: after that the PUT is answered 403, and the process has no document."""
    async with auco(AucoOptions(url_life=life)) as client:
        early, late = [(await client.create(BY_URL))[1]["url"] for _ in range(2)]
        client.clock.now += life
        assert (await client.put(early))[0] == 200
        client.clock.now += 0.1
        assert error_of(await client.put(late)) == (403, "AccessDenied", "Request has expired")
        assert client.sandbox.auco.processes[1].stored is None
        assert len(client.sandbox.breaches) == 1


async def test_the_default_life_is_the_guides() -> None:
    """5 seconds."""
    assert AucoOptions().url_life == 5


async def test_a_key_on_the_signed_url_is_a_leak() -> None:
    """A PUT with the vendor's key is refused, and counted as a leak."""
    async with auco() as client:
        url = (await client.create(BY_URL))[1]["url"]
        assert (await client.put(url, headers={"Authorization": client.sandbox.auco.private_key}))[0] == 403
        assert client.sandbox.leaks == 1


async def test_a_chunked_put_is_refused() -> None:
    """A PUT without Content-Length is answered 501, as S3 does."""

    async def chunks() -> AsyncIterator[bytes]:
        yield PDF

    async with auco() as client:
        url = yarl.URL((await client.create(BY_URL))[1]["url"], encoded=True)
        async with client.http.put(url, data=chunks()) as answer:
            assert error_of((answer.status, await answer.text()))[:2] == (501, "NotImplemented")


async def test_content_type_of_the_put() -> None:
    """Any Content-Type is taken, or none; by a switch one is bound."""
    async with auco() as client:
        for headers in (None, TYPED):
            assert (await client.put((await client.create(BY_URL))[1]["url"], headers=headers))[0] == 200
    async with auco(AucoOptions(content_type="application/pdf")) as client:
        answer = await client.put((await client.create(BY_URL))[1]["url"])
        assert error_of(answer)[:2] == (403, "SignatureDoesNotMatch")
        url = (await client.create(BY_URL))[1]["url"]
        assert (await client.put(url, headers=TYPED))[0] == 200


# --- reading and cancelling ---------------------------------------------------------------------------------------


async def test_status_by_code() -> None:
    """A code is answered with a URL to read, name, code, status, data and signers; ``custom`` only if it was sent."""
    async with auco() as client:
        code = (await client.create(INLINE))[1]["code"]
        status, found = await client.get(f"/document?code={code}")
        assert (status, set(found)) == (200, {"url", "name", "code", "status", "data", "signProfile"})
        assert (found["name"], found["code"], found["status"], found["data"]) == ("Contract", code, "CREATED", {})
        assert found["signProfile"] == [
            {"name": signer["name"], "email": signer["email"], "status": "NOTIFICATION"} for signer in (ANA, LUIS)
        ]
        async with client.http.get(yarl.URL(found["url"], encoded=True)) as answer:
            assert (answer.status, await answer.read()) == (200, PDF)
        mine = (await client.create(INLINE | {"custom": {"order": 1}}))[1]["code"]
        assert (await client.get(f"/document?code={mine}"))[1]["custom"] == {"order": 1}
        assert client.sandbox.breaches == []


@pytest.mark.parametrize("path", ["/document?code=NONE", "/document?package=NONE"])
async def test_unknown_document(path: str) -> None:
    """Not found is 400 with a word; asking is no breach."""
    async with auco() as client:
        status, error = await client.get(path)
        assert (status, error["code"]) == (400, "DOCUMENT_NOT_FOUND")
        assert client.sandbox.breaches == []


async def test_without_a_code_the_templates_are_listed() -> None:
    """A read without code or package succeeds and is about something else: a breach."""
    async with auco() as client:
        await client.create(INLINE)
        assert await client.get("/document") == (200, [])
        assert len(client.sandbox.breaches) == 1


async def test_a_process_without_bytes() -> None:
    """Until its bytes come a process has no URL to read; by a switch it is not known at all."""
    async with auco() as client:
        created = (await client.create(BY_URL))[1]
        status, found = await client.get(f"/document?code={created['code']}")
        assert (status, found["url"], found["status"]) == (200, "", "CREATED")
        await client.put(created["url"])
        assert urlsplit((await client.get(f"/document?code={created['code']}"))[1]["url"]).query
    async with auco(AucoOptions(without_bytes="not_found")) as client:
        created = (await client.create(BY_URL))[1]
        assert (await client.get(f"/document?code={created['code']}"))[0] == 400
        await client.put(created["url"])
        assert (await client.get(f"/document?code={created['code']}"))[0] == 200


async def test_a_package_by_id() -> None:
    """A package is answered with id, codes, its name and signers."""
    async with auco() as client:
        created = (await client.create(PACKAGE, PACKAGES))[1]
        status, package = await client.get(f"/document?package={created['package']}")
        assert status == 200
        assert package == {
            "_id": created["package"],
            "codes": [created["code"]],
            "name": "Contracts of May",
            "signers": [],
        }


@pytest.mark.parametrize(
    ("query", "code"),
    [("", "VALIDATION_ERROR"), ("?code=A&package=B", "VALIDATION_ERROR"), ("?code=A", "ATTACHMENT_NOT_FOUND")],
)
async def test_attachments(query: str, code: str) -> None:
    """Attachments are asked for by exactly one of code and package; there are none."""
    async with auco() as client:
        status, error = await client.get(f"/attachments{query}")
        assert (status, error["code"]) == (400, code)


async def test_cancel() -> None:
    """Cancelling takes codes, message and email, and a process is rejected then; an unknown code changes nothing."""
    async with auco() as client:
        code = (await client.create(INLINE))[1]["code"]
        key, path = client.sandbox.auco.private_key, "/document/cancel"
        good: dict[str, Any] = {"codes": [code], "message": "no", "email": "owner@example.com"}
        changes: list[dict[str, Any]] = [{"codes": code}, {"codes": []}, {"message": ""}, {"email": None}]
        for change in changes:
            assert (await client.call("POST", path, key, good | change))[0] == 400
        status, error = await client.call("POST", path, key, good | {"codes": [code, "NONE"]})
        assert (status, error["code"]) == (400, "DOCUMENT_NOT_FOUND")
        assert (await client.get(f"/document?code={code}"))[1]["status"] == "CREATED"
        assert (await client.call("POST", path, key, good))[0] == 200
        assert (await client.get(f"/document?code={code}"))[1]["status"] == "REJECTED"
