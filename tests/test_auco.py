"""What only Auco has, by real uploads: the exact requests, what is refused before them, and nothing done twice."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from aiohttp import web

import bulkup
from bulkup import run as running
from bulkup.clock import Clock
from bulkup.errors import ConfigError, ManifestError, StepError
from bulkup.ledgers import open_ledger
from bulkup.providers.auco import Auco
from bulkup.rows import Complaint
from bulkup.sandbox import AucoOptions, Faults, Rule, Sandbox
from tests.conftest import Archive
from tests.process import bulkup as command

PDF = b"%PDF-1.7 a contract of two pages"
ANA = {"name": "Ana Ruiz", "email": "ana@example.com", "phone": "+57 300 123 4567"}
LUIS = {"name": "Luis Mora", "email": "luis@example.com", "phone": "+57 300 765 4321"}
UPLOAD, PACKAGES = "/auco/document/upload", "/auco/package/upload"
PRIVATE = re.compile(r"prk_\w+")


def columns(**changes: str) -> dict[str, str]:
    """A good row's columns, some of them changed."""
    words = {"name": "Contract", "subject": "Please sign", "message": "Two pages"}
    return {"provider": "auco", "email": "owner@example.com", "sign_profile": json.dumps([ANA])} | words | changes


@dataclass(frozen=True)
class Seen:
    """A request as it came: header names as they were spelt, and the JSON of its body, if it was JSON."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    json: Any

    def header(self, name: str) -> str | None:
        """The one header of exactly this spelling."""
        values = [value for given, value in self.headers if given == name]
        assert len(values) <= 1
        return values[0] if values else None

    @property
    def names(self) -> set[str]:
        """Its headers but those of the connection."""
        return {name for name, _ in self.headers} - {"Host", "Connection"}


class Watched(Sandbox):
    """A sandbox that keeps each request to Auco and its store, and can answer otherwise, once it did what was asked.

    Attributes:
        seen: the requests, in their order.
        says: by path, the JSON that is answered instead.
    """

    def __init__(self, *rules: Rule, options: AucoOptions | None = None) -> None:
        super().__init__(options=options or AucoOptions(), faults=Faults(seed=2, rules=rules))
        self.seen: list[Seen] = []
        self.says: dict[str, object] = {}

    def _application(self) -> web.Application:
        application = super()._application()
        application.middlewares.append(self._watch)
        return application

    @web.middleware
    async def _watch(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        body = json.loads(await request.read()) if request.method == "POST" else None
        headers = [(name.decode(), value.decode()) for name, value in request.raw_headers]
        self.seen.append(Seen(request.method, request.path, request.query_string, headers, body))
        answer = await handler(request)
        return web.json_response(self.says[request.path]) if request.path in self.says else answer

    def one(self, method: str) -> Seen:
        """The only request of this method."""
        (seen,) = [seen for seen in self.seen if seen.method == method]
        return seen

    @property
    def counts(self) -> dict[str, int]:
        """How often each step of Auco's was asked for."""
        return {step: count for (vendor, step), count in self.requests.items() if vendor == "auco"}

    @property
    def pdfs(self) -> list[bytes | None]:
        """The PDF of each process, oldest first."""
        return [process.stored.read() if process.stored else None for process in self.auco.processes]


async def send(archive: Archive, sandbox: Sandbox, settings: dict[str, str] | None = None, **options: Any) -> str:
    """A run; says how its only row ended, as ``state stage error_code``."""
    environment = sandbox.environment() | {f"BULKUP_AUCO_{name}": value for name, value in (settings or {}).items()}
    summary = await archive.upload(sandbox, environment=environment, **options)
    assert summary.rows == 1
    ended = archive.ended()[1]
    return " ".join(filter(None, (ended.state, ended.stage, ended.error_code)))


# --- the requests -------------------------------------------------------------------------------------------------


async def test_a_small_pdf_goes_inside(archive: Archive) -> None:
    """One POST with the private key, raw: the guide's names and types, bare base64, nothing that was not given."""
    archive.add("a.pdf", PDF, **columns(key="row-1"))
    async with Watched() as sandbox:
        assert await send(archive, sandbox) == "completed"
        (seen,) = sandbox.seen
        assert (seen.method, seen.path, seen.query) == ("POST", UPLOAD, "")
        assert seen.names == {"Authorization", "Content-Type", "Content-Length"}
        assert seen.header("Authorization") == sandbox.auco.private_key
        assert seen.header("Content-Type") == "application/json"
        assert seen.json == {
            "email": "owner@example.com",
            "name": "Contract",
            "subject": "Please sign",
            "message": "Two pages",
            "signProfile": [ANA],
            "custom": {"bulkup_key": "row-1"},
            "file": base64.b64encode(PDF).decode(),
        }
        assert sandbox.pdfs == [PDF]
        (row,) = archive.ledger_rows()
        assert row["document_id"] == sandbox.auco.processes[0].code


@pytest.mark.parametrize("typed", [False, True])
async def test_every_column(archive: Archive, typed: bool) -> None:  # noqa: FBT001 - a parameter
    """All columns, as text of a CSV or as values of JSON, become JSON of the guide's types, and by its names."""
    end = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    signer = ANA | {"role": "APPROVER", "order": "2", "label": True, "otpCode": True, "options": {"otpCode": "email"}}
    given: dict[str, Any] = {
        "sign_profile": [signer, LUIS | {"position": [{"page": 1}], "type": "co-signer", "both": False}],
        "document": "T-1",
        "folder": "/2026/May",
        "remember": 6,
        "expired_date": end.isoformat(),
        "camera": True,
        "otp_code": False,
        "options": {"camera": "identification"},
        "notification": False,
        "readers": [{"name": "Office", "email": "office@example.com"}],
        "custom": {"order": "4711"},
    }
    path = archive.add("a.pdf", PDF)
    row = {"path": str(path), **columns(), **given}
    archive.rows = [{name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}]
    manifest = archive.folder / "rows.json" if typed else archive.manifest()
    if typed:
        manifest.write_text(json.dumps([row]), "utf-8")
    async with Watched(options=AucoOptions(strict=True)) as sandbox:
        assert await send(archive, sandbox, manifest=manifest) == "completed"
        body = sandbox.one("POST").json
        assert {name: value for name, value in body.items() if name != "file"} == {
            "email": "owner@example.com",
            "name": "Contract",
            "subject": "Please sign",
            "message": "Two pages",
            "signProfile": given["sign_profile"],
            "document": "T-1",
            "folder": "/2026/May",
            "remember": 6,
            "expiredDate": f"{end:%Y-%m-%dT%H:%M:%S}.000Z",
            "camera": True,
            "otpCode": False,
            "options": {"camera": "identification"},
            "notification": False,
            "readers": given["readers"],
            "custom": {"order": "4711"},
        }
        assert [type(body[name]) for name in ("remember", "camera", "otpCode")] == [int, bool, bool]
        assert not sandbox.breaches


LIMIT = len(PDF)


@pytest.mark.parametrize(
    ("limit", "more", "path", "how"),
    [
        (LIMIT, {}, UPLOAD, "file"),
        (LIMIT - 1, {}, UPLOAD, "compress"),
        (0, {}, UPLOAD, "compress"),
        (LIMIT, {"compress": "yes"}, UPLOAD, "compress"),
        (LIMIT - 1, {"compress": "no"}, UPLOAD, "file"),
        (LIMIT, {"package_name": "May"}, PACKAGES, "compress"),
        (LIMIT, {"package_name": "May", "compress": "no"}, PACKAGES, "file"),
    ],
)
async def test_inside_or_by_url(archive: Archive, limit: int, more: dict[str, str], path: str, how: str) -> None:
    """The size decides, unless the row does; a package goes by URL; never both ``file`` and ``compress``."""
    archive.add("a.pdf", PDF, **columns(**more))
    async with Watched() as sandbox:
        assert await send(archive, sandbox, {"INLINE_LIMIT": str(limit)}) == "completed"
        create = sandbox.one("POST")
        assert create.path == path
        assert create.json.keys() & {"file", "compress"} == {how}
        assert create.json.get("compress", True) is True
        assert create.json.get("packageName") == more.get("package_name")
        assert sandbox.pdfs == [PDF]
        assert not sandbox.breaches


@pytest.mark.parametrize(("size", "how"), [(256 * 1024, "file"), (256 * 1024 + 1, "compress")])
async def test_the_threshold(archive: Archive, size: int, how: str) -> None:
    """Without a setting, up to 256 KiB go inside; every byte arrives either way."""
    content = PDF.ljust(size, b"\xff")
    archive.add("a.pdf", content, **columns())
    async with Watched() as sandbox:
        assert await send(archive, sandbox) == "completed"
        assert how in sandbox.one("POST").json
        assert sandbox.pdfs == [content]


@pytest.mark.parametrize("content_type", [None, "application/pdf"])
async def test_the_put(archive: Archive, content_type: str | None) -> None:
    """The bytes go to the signed URL with a length and without a key, with a Content-Type only if one is set."""
    archive.add("a.pdf", PDF, **columns(compress="true"))
    settings = {"CONTENT_TYPE": content_type} if content_type else {}
    async with Watched(options=AucoOptions(content_type=content_type or "")) as sandbox:
        assert await send(archive, sandbox, settings) == "completed"
        assert [seen.method for seen in sandbox.seen] == ["POST", "PUT"]
        create, put = sandbox.seen
        assert create.names == {"Authorization", "Content-Type", "Content-Length", "Accept"}
        assert create.header("Authorization") == sandbox.auco.private_key
        assert put.names == {"Content-Length"} | ({"Content-Type"} if content_type else set())
        assert put.header("Content-Type") == content_type
        assert put.header("Content-Length") == str(len(PDF))
        assert (sandbox.leaks, sandbox.pdfs) == (0, [PDF])


async def test_an_environment_of_the_guide_alone(archive: Archive) -> None:
    """With an empty ``custom`` nothing is sent that the guide lacks; without it, the refusal is told and no more."""
    archive.add("a.pdf", PDF, **columns())
    async with Watched(options=AucoOptions(newer_fields=False)) as sandbox:
        assert await send(archive, sandbox) == "failed init rejected"
        assert "custom" in (archive.ended()[1].error or "")
        archive.rows[0]["custom"] = "{}"
        assert await send(archive, sandbox) == "completed"
        assert len(sandbox.auco.processes) == 1


async def test_an_order_that_is_a_number(archive: Archive) -> None:
    """The guide's ``order`` is text, so a number is sent as its digits."""
    archive.add("a.pdf", PDF, **columns(sign_profile=json.dumps([ANA | {"order": 1}])))
    async with Watched() as sandbox:
        assert await send(archive, sandbox) == "completed"
        assert sandbox.one("POST").json["signProfile"] == [ANA | {"order": "1"}]


# --- what is refused before anything is sent ----------------------------------------------------------------------


def signers(**change: object) -> dict[str, str]:
    """The column of two signers, whose second is changed; None leaves a field out."""
    second = {name: value for name, value in (LUIS | change).items() if value is not None}
    return {"sign_profile": json.dumps([ANA, second])}


def ahead(**time: float) -> str:
    """A time so far ahead."""
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


BAD: list[tuple[dict[str, str], str, str]] = [
    ({"email": "owner @example.com"}, "email", "must be an e-mail address"),
    ({"email": ""}, "email", "is required"),
    ({"name": ""}, "name", "is required"),
    ({"name": " "}, "name", "must not be blank"),
    ({"subject": "\t"}, "subject", "must not be blank"),
    ({"message": ""}, "message", "is required"),
    ({"document": " "}, "document", "must not be blank"),
    ({"folder": " "}, "folder", "must not be blank"),
    ({"remember": "4"}, "remember", "must be a multiple of 3"),
    ({"remember": "0"}, "remember", "must be a multiple of 3"),
    ({"remember": "-3"}, "remember", "must be a multiple of 3"),
    ({"remember": "3 hours"}, "remember", "must be a whole number"),
    ({"expired_date": ahead(days=2)}, "expired_date", "must be more than 3 days from now"),
    ({"expired_date": ahead(days=3)}, "expired_date", "must be more than 3 days from now"),
    ({"expired_date": "31.1.2100"}, "expired_date", "must be a date such as"),
    ({"camera": "maybe"}, "camera", "must be true or false"),
    ({"otp_code": "x"}, "otp_code", "must be true or false"),
    ({"notification": "x"}, "notification", "must be true or false"),
    ({"compress": "x"}, "compress", "must be true or false"),
    ({"options": "[]"}, "options", "must be a JSON object"),
    ({"custom": "x"}, "custom", "is not valid JSON"),
    ({"sign_profile": ""}, "sign_profile", "is required"),
    ({"sign_profile": "[]"}, "sign_profile", "must name at least one signer"),
    ({"sign_profile": "{}"}, "sign_profile", "must be a JSON array"),
    ({"sign_profile": '["ana@example.com"]'}, "sign_profile", "signer 1: must be an object"),
    (signers(name=None), "sign_profile", "signer 2: name is required"),
    (signers(name=" "), "sign_profile", "signer 2: name is required"),
    (signers(email=None), "sign_profile", "signer 2: email is required"),
    (signers(email="luis"), "sign_profile", "signer 2: email must be an e-mail address"),
    (signers(email="ana@example.com"), "sign_profile", "signer 2: email repeats that of signer 1"),
    (signers(email="Ana@Example.com"), "sign_profile", "signer 2: email repeats that of signer 1"),
    (signers(phone=ANA["phone"]), "sign_profile", "signer 2: phone repeats that of signer 1"),
    (signers(phone="0057-(300)-1234567"), "sign_profile", "signer 2: phone repeats that of signer 1"),
    (signers(phone=573007654321), "sign_profile", "signer 2: phone must be a phone number, as text"),
    (signers(phone="none"), "sign_profile", "signer 2: phone must be a phone number, as text"),
    (signers(role="signer"), "sign_profile", "signer 2: role must be APPROVER or SIGNER"),
    (signers(role=["SIGNER"]), "sign_profile", "signer 2: role must be APPROVER or SIGNER"),
    (signers(order=True), "sign_profile", "signer 2: order must be text"),
    (signers(label="true"), "sign_profile", "signer 2: label must be true or false"),
    (signers(camera=1), "sign_profile", "signer 2: camera must be true or false"),
    (signers(otpCode="no"), "sign_profile", "signer 2: otpCode must be true or false"),
    (signers(both={}), "sign_profile", "signer 2: both must be true or false"),
    (signers(position={}), "sign_profile", "signer 2: position must be an array"),
    (signers(type=1), "sign_profile", "signer 2: type must be text or an array"),
    (signers(options="otp"), "sign_profile", "signer 2: options must be an object"),
    (signers(otp_code=True), "sign_profile", "signer 2: 'otp_code' is unknown: did you mean 'otpCode'?"),
    ({"readers": "{}"}, "readers", "must be a JSON array"),
    ({"readers": "[1]"}, "readers", "reader 1: must be an object"),
    ({"readers": '[{"name": "Office"}]'}, "readers", "reader 1: email is required"),
    ({"readers": '[{"email": "office@example.com"}]'}, "readers", "reader 1: name is required"),
    ({"readers": '[{"name": "Office", "email": "x"}]'}, "readers", "reader 1: email must be an e-mail address"),
    ({"path": "a.docx"}, "path", "must be a PDF"),
    ({"filename": "a.png"}, "path", "must be a PDF"),
    ({"package_name": " "}, "package_name", "must not be blank"),
    ({"package_name": "May", "notification": "no"}, "notification", "can't be given together with package_name"),
    ({"package_name": "May", "document": "T-1"}, "document", "can't be given together with package_name"),
    ({"package_name": "May", **signers(notification=False)}, "sign_profile", "a signer's notification can't be given"),
]


async def test_all_mistakes_are_told_at_once(archive: Archive) -> None:
    """Each bad row is named with column, value and what would be right; nothing is sent, the good row neither."""
    archive.add("a.pdf", PDF, **columns())
    for number, (change, *_) in enumerate(BAD, 2):
        given = columns(key=str(number)) | change
        archive.row(given.pop("path", "a.pdf"), **given)
    async with Watched() as sandbox:
        with pytest.raises(ManifestError, match=f"{len(BAD)} of {len(BAD) + 1} rows can't be sent"):
            await archive.upload(sandbox)
        assert sandbox.seen == []
    error = await complaints(archive)
    assert [complaint.row for complaint in error] == list(range(2, len(BAD) + 2))
    for complaint, (change, column, words) in zip(error, BAD, strict=True):
        assert (complaint.column, words in complaint.text) == (column, True), complaint
        expected = change.get(column) or (archive.rows[0][column] if words.startswith("must be a PDF") else None)
        assert complaint.value == (expected and expected[:200] + ("…" if len(expected) > 200 else "")), complaint


async def complaints(archive: Archive) -> list[Complaint]:
    """What is said against a manifest."""
    async with Sandbox() as sandbox:
        with pytest.raises(ManifestError) as caught:
            await archive.upload(sandbox)
    return list(caught.value.complaints)


async def test_all_mistakes_of_a_row(archive: Archive) -> None:
    """One row's mistakes are all told, those of its signers together."""
    people = [ANA | {"role": "boss"}, {"email": "ANA@example.com", "phone": 1}]
    archive.add("a.pdf", PDF, **columns(sign_profile=json.dumps(people), remember="5", camera="x", subject=" "))
    found = {complaint.column: complaint.text for complaint in await complaints(archive)}
    assert found.keys() == {"sign_profile", "remember", "camera", "subject"}
    assert found["sign_profile"].split("; ") == [
        "signer 1: role must be APPROVER or SIGNER",
        "signer 2: name is required, as text",
        "signer 2: phone must be a phone number, as text such as '+573001234567'",
        "signer 2: email repeats that of signer 1",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {
            "sign_profile": json.dumps(
                [{"name": "A", "email": "a@example.com"}, {"name": "B", "email": "b@example.com"}]
            )
        },
        {"expired_date": ahead(days=3, hours=12)},
        {"remember": "12"},
        {"package_name": "May"},
        {"filename": "b.PDF"},
        signers(files=[], notification=False),
        signers(type=["co-signer"]),
    ],
    ids=lambda change: next(iter(change)),
)
async def test_what_is_no_mistake(archive: Archive, change: dict[str, str]) -> None:
    """No phones, fields of newer docs, and what only just meets a rule are sent."""
    archive.add("a.pdf", PDF, **columns(**change))
    async with Watched() as sandbox:
        assert await send(archive, sandbox) == "completed"
        assert not sandbox.breaches


def test_the_command_refuses(archive: Archive) -> None:
    """``bulkup run`` says row, column and value, and exits 2."""
    archive.add("a.pdf", PDF, **columns(remember="4"))
    keys = {"BULKUP_AUCO_PRIVATE_KEY": "prk_x", "BULKUP_AUCO_PUBLIC_KEY": "puk_x"}
    done = command("run", archive.manifest(), environment=keys, cwd=archive.folder)
    assert done.returncode == 2
    assert "row 1 (line 2): column 'remember': must be a multiple of 3, in hours (value: '4')" in done.stderr


@pytest.mark.parametrize("size", [100, 1_000_000])
@pytest.mark.parametrize("compress", ["", "true"])
async def test_a_file_that_is_no_pdf_makes_no_process(archive: Archive, size: int, compress: str) -> None:
    """Named .pdf and no PDF inside: the row fails before anything is sent, small or large, either way of sending."""
    archive.add("a.pdf", b"PK" * (size // 2), **columns(compress=compress))
    async with Watched() as sandbox:
        assert await send(archive, sandbox) == "failed preflight wrong_type"
        assert not sandbox.requests


async def test_a_row_outlives_its_end(archive: Archive) -> None:
    """What was sent in time is no mistake later: the same manifest is skipped after its day, and others are refused."""
    archive.add("a.pdf", PDF, **columns(expired_date=ahead(days=3, hours=12)))
    async with Watched() as sandbox:
        assert await send(archive, sandbox) == "completed"
        late = Clock(wall=lambda: time.time() + 86_400)
        with open_ledger(archive.ledger) as ledger:
            order, said = running.Order(str(archive.manifest())), list[Complaint]()
            given: dict[str, Any] = {"environment": sandbox.environment(), "complain": said.append, "clock": late}
            admitted = running.admit(order, ledger, **given)
            assert ledger.states(admitted.run_id) == {"skipped": 1}
            archive.add("b.pdf", PDF, **columns(expired_date=ahead(days=3, hours=12)))
            with pytest.raises(ManifestError):
                running.admit(running.Order(str(archive.manifest())), ledger, **given)
        assert [(complaint.row, complaint.column) for complaint in said] == [(2, "expired_date")]


@pytest.mark.parametrize(("name", "value"), [("URL_LIFE", "0"), ("INLINE_LIMIT", "-1"), ("CONTENT_TYPE", "a\nb")])
async def test_settings_that_make_no_sense(archive: Archive, name: str, value: str) -> None:
    """A bad setting is named before anything is sent."""
    archive.add("a.pdf", PDF, **columns())
    async with Watched() as sandbox:
        with pytest.raises(ConfigError, match=f"BULKUP_AUCO_{name}"):
            await send(archive, sandbox, {name: value})
        assert sandbox.seen == []


# --- a process is never created twice -----------------------------------------------------------------------------


WAYS = {"inside": ({}, "init"), "url": ({"compress": "yes"}, "init"), "package": ({"package_name": "May"}, "package")}
LOST = {
    "stall": Rule(kind="stall"),
    "cut": Rule(kind="truncate", at_byte=0),
    "504": Rule(kind="status", status=504),
    "520": Rule(kind="status", status=520),
    "told when": Rule(kind="status", status=503, retry_after=0),
}


@pytest.mark.parametrize(("way", "lost"), [*product(("inside", "url"), LOST), ("package", "stall")])
async def test_a_lost_create_is_never_repeated(archive: Archive, way: str, lost: str) -> None:
    """Silence, a cut answer, any 5xx: the row is unknown, with one create in this run, and none in the next."""
    more, step = WAYS[way]
    archive.add("a.pdf", PDF, **columns(**more))
    async with Watched(LOST[lost].model_copy(update={"step": step, "vendor": "auco", "times": 1})) as sandbox:
        assert (await send(archive, sandbox, timeout=0.3, stall_timeout=0.3)).startswith("unknown init")
        assert (await send(archive, sandbox)).startswith("unknown")
        assert sandbox.counts == {step: 1}
        assert await send(archive, sandbox, retry_unknown=True) == "completed"
        assert sandbox.counts[step] == 2


@pytest.mark.parametrize(
    ("answer", "more", "words"),
    [
        ({"package": "P-9"}, {}, "P-9"),
        ({"package": "P-9", "code": ""}, {}, "P-9"),
        ({"code": {"id": 1}}, {}, "neither code nor document"),
        ([], {}, "not a JSON object"),
        ({"package": "P-9", "code": "C-9"}, {"compress": "yes"}, "process C-9 was created"),
        ({"document": "C-9", "url": None}, {"compress": "yes"}, "process C-9 was created"),
        ({"url": "http://127.0.0.1:9/x"}, {"compress": "yes"}, "neither code nor document"),
    ],
)
async def test_an_answer_that_says_too_little(
    archive: Archive, answer: object, more: dict[str, str], words: str
) -> None:
    """A create whose answer lacks the code, or the URL, counts as lost; what it does say is told."""
    archive.add("a.pdf", PDF, **columns(**more))
    async with Watched() as sandbox:
        sandbox.says[UPLOAD] = answer
        assert await send(archive, sandbox) == "unknown init unreadable_answer"
        assert words in (archive.ended()[1].error or "")
        assert (await send(archive, sandbox)).startswith("unknown")
        assert sandbox.counts == {"init": 1}


@pytest.mark.parametrize(("generation", "created"), [("guide", 202), ("newer", 200)])
@pytest.mark.parametrize("more", [{}, {"compress": "yes"}])
async def test_both_generations_of_answers(
    archive: Archive, generation: str, created: int, more: dict[str, str]
) -> None:
    """``code`` and ``document`` are both the document's id, whatever the 2xx."""
    archive.add("a.pdf", PDF, **columns(**more))
    options = AucoOptions.model_validate({"generation": generation, "created": created})
    async with Watched(options=options) as sandbox:
        assert await send(archive, sandbox) == "completed"
        (row,) = archive.ledger_rows()
        assert row["document_id"] == sandbox.auco.processes[0].code
        assert sandbox.pdfs == [PDF]


@pytest.mark.parametrize("way", ["inside", "url"])
async def test_a_connection_that_is_refused_leaves_no_doubt(archive: Archive, way: str) -> None:
    """Nothing arrived, so the row is not unknown, and the next run sends it."""
    more, step = WAYS[way]
    archive.add("a.pdf", PDF, **columns(**more))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = {"BULKUP_AUCO_BASE_URL": f"http://127.0.0.1:{unused.getsockname()[1]}"}
        async with Watched() as sandbox:
            summary = await archive.upload(sandbox, environment=sandbox.environment() | nowhere)
            assert (summary.unknown, summary.completed) == (0, 0)
            assert await send(archive, sandbox) == "completed"
            assert sandbox.counts[step] == 1


@pytest.mark.parametrize("way", ["inside", "url"])
async def test_too_many_requests_are_waited_for(archive: Archive, way: str) -> None:
    """A 429 to a create says that nothing was done: the only answer after which it is repeated."""
    more, step = WAYS[way]
    archive.add("a.pdf", PDF, **columns(**more))
    async with Watched(Rule(kind="status", status=429, retry_after=0, step=step, times=2)) as sandbox:
        assert await send(archive, sandbox, retry_for=5) == "completed"
        assert (sandbox.counts[step], len(sandbox.auco.processes)) == (3, 1)


@pytest.mark.parametrize("form", ["json", "text"])
async def test_a_refused_create_fails(archive: Archive, form: str) -> None:
    """A 400 fails the row with the vendor's words, once; put right, the next run sends it."""
    archive.add("a.pdf", PDF, **columns(folder="/b"))
    options = AucoOptions.model_validate({"folders": {"/a"}, "error_form": form})
    async with Watched(options=options) as sandbox:
        assert await send(archive, sandbox) == "failed init rejected"
        assert "there is no folder /b" in (archive.ended()[1].error or "")
        assert sandbox.counts == {"init": 1}
        archive.rows[0]["folder"] = "/a"
        assert await send(archive, sandbox) == "completed"


@pytest.mark.parametrize("more", [{}, {"compress": "yes"}])
async def test_wrong_keys_fail(archive: Archive, more: dict[str, str]) -> None:
    """Keys that are mixed up are answered 401: nothing was created, and no key is shown."""
    archive.add("a.pdf", PDF, **columns(**more))
    async with Watched() as sandbox:
        mixed_up = {"PRIVATE_KEY": sandbox.auco.public_key, "PUBLIC_KEY": sandbox.auco.private_key}
        assert await send(archive, sandbox, mixed_up) == "failed init unauthorized"
        assert sandbox.counts == {"init": 1}
        assert await send(archive, sandbox) == "completed"


async def test_words_that_repeat_a_key(archive: Archive) -> None:
    """A refusal that names the key is kept without it."""
    archive.add("a.pdf", PDF, **columns())
    async with Watched() as sandbox:
        key = sandbox.auco.private_key
        sandbox.faults = Faults(rules=(Rule(kind="status", step="init", status=400, message=f"not for {key}"),))
        assert await send(archive, sandbox) == "failed init rejected"
        assert "not for ***" in (archive.ended()[1].error or "")
        assert not PRIVATE.search(str(archive.ledger_rows()))


# --- the signed URL takes one PUT ---------------------------------------------------------------------------------


BY_URL = columns(compress="yes")


async def test_a_url_that_expired_on_the_way(archive: Archive) -> None:
    """The store's word fails the row at the transfer; no second create, no second PUT, and the next run neither."""
    archive.add("a.pdf", PDF, **BY_URL)
    async with Watched(Rule(kind="expired_url", vendor="auco")) as sandbox:
        assert await send(archive, sandbox) == "failed transfer url_expired"
        sandbox.faults = Faults()
        assert (await send(archive, sandbox)).startswith("failed")
        assert sandbox.counts == {"init": 1, "put": 1}
        (row,) = archive.ledger_rows()
        assert (row["document_id"], row["error_code"]) == (sandbox.auco.processes[0].code, "url_expired")


@pytest.mark.parametrize(("life", "ends"), [("0.05", "failed transfer url_expired"), ("300", "completed")])
async def test_the_life_of_a_url_is_a_setting(archive: Archive, life: str, ends: str) -> None:
    """Past the life that is set, counted from before the create was sent, no PUT is begun."""
    archive.add("a.pdf", PDF, **BY_URL)
    late = Rule(kind="latency", vendor="auco", step="init", seconds=0.1)
    async with Watched(late, options=AucoOptions(url_life=300)) as sandbox:
        assert await send(archive, sandbox, {"URL_LIFE": life}) == ends
        assert sandbox.requests["auco", "put"] == (ends == "completed")


def test_the_life_of_a_url_by_default() -> None:
    """5 seconds, as the guide says."""
    assert Auco().url_life == 5


async def test_a_put_that_is_refused(archive: Archive) -> None:
    """A definite refusal of the bytes fails the row; it is not sent again by itself."""
    archive.add("a.pdf", PDF, **BY_URL)
    async with Watched(options=AucoOptions(content_type="application/pdf")) as sandbox:
        assert await send(archive, sandbox) == "failed transfer store_refused"
        assert "SignatureDoesNotMatch" in (archive.ended()[1].error or "")
        assert (await send(archive, sandbox, {"CONTENT_TYPE": "application/pdf"})).startswith("failed")
        assert sandbox.counts == {"init": 1, "put": 1}


@pytest.mark.parametrize("kind", ["reset_after", "truncate"])
async def test_a_put_whose_answer_was_lost_is_looked_up(archive: Archive, kind: str) -> None:
    """The code tells, by the public key, that the bytes are there: completed, with one PUT."""
    archive.add("a.pdf", PDF, **BY_URL)
    rule = Rule.model_validate({"kind": kind, "vendor": "auco", "step": "put"})
    async with Watched(rule) as sandbox:
        assert await send(archive, sandbox) == "completed"
        assert (sandbox.counts["init"], sandbox.counts["put"]) == (1, 1)
        look = next(seen for seen in sandbox.seen if seen.method == "GET" and seen.path == "/auco/document")
        assert look.query == f"code={sandbox.auco.processes[0].code}"
        assert look.names == {"Authorization", "Content-Type", "Accept"}
        assert look.header("Authorization") == sandbox.auco.public_key
        assert not sandbox.breaches


@pytest.mark.parametrize(
    ("rule", "without_bytes"), [(Rule(kind="reset_mid"), "no_url"), (Rule(kind="status", status=500), "not_found")]
)
async def test_bytes_that_nobody_can_prove(archive: Archive, rule: Rule, without_bytes: str) -> None:
    """CREATED is no proof: the row is unknown, each run asks by its code, and --retry-unknown makes another process.

    The old one is cancelled first, so that its signers have one document to sign.
    """
    archive.add("a.pdf", PDF, **BY_URL)
    rule = rule.model_copy(update={"vendor": "auco", "step": "put", "times": 1})
    async with Watched(rule, options=AucoOptions.model_validate({"without_bytes": without_bytes})) as sandbox:
        assert (await send(archive, sandbox)).startswith("unknown transfer")
        (old,) = sandbox.auco.processes
        asked = sandbox.counts["get"]
        assert (await send(archive, sandbox)).startswith("unknown")
        assert sandbox.counts == {"init": 1, "put": 1, "get": asked + 1}
        assert old.code in (archive.ended()[1].error or "")
        assert await send(archive, sandbox, retry_unknown=True) == "completed"
        assert [seen.path for seen in sandbox.seen if seen.method == "POST"] == [
            UPLOAD,
            "/auco/document/cancel",
            UPLOAD,
        ]
        cancel = sandbox.seen[-3].json
        assert (cancel["codes"], cancel["email"]) == ([old.code], "owner@example.com")
        assert cancel["message"]
        assert [process.status for process in sandbox.auco.processes] == ["REJECTED", "CREATED"]
        assert sandbox.pdfs == [None, PDF]
        assert archive.former_ids() == [old.code]
        assert not sandbox.breaches


@pytest.mark.parametrize("answer", ["refused", "lost"])
async def test_a_process_that_can_not_be_cancelled(archive: Archive, answer: str) -> None:
    """That is told; what the user wanted sent is sent all the same, and the cancel is not repeated."""
    archive.add("a.pdf", PDF, **BY_URL)
    put = Rule(kind="status", vendor="auco", step="put", status=503, times=1)
    given: dict[str, object] = {"kind": "status", "status": 400} if answer == "refused" else {"kind": "reset_after"}
    cancel = Rule.model_validate({"vendor": "auco", "step": "cancel", **given})
    async with Watched(put, cancel) as sandbox:
        assert (await send(archive, sandbox)).startswith("unknown")
        assert await send(archive, sandbox, retry_unknown=True) == "completed"
        assert sandbox.counts["cancel"] == 1
        assert any(sandbox.auco.processes[0].code in notice for notice in archive.notices())


async def test_a_signed_process_has_its_document(archive: Archive) -> None:
    """FINISH proves that the bytes came, although signing made the file another; another file alone proves nothing."""
    archive.add("a.pdf", PDF, **BY_URL)
    async with Watched(Rule(kind="status", vendor="auco", step="put", status=503)) as sandbox:
        assert (await send(archive, sandbox)).startswith("unknown")
        (process,) = sandbox.auco.processes
        process.stored = await sandbox.store.put_bytes(process.key, b"%PDF-1.7 with signatures")
        assert (await send(archive, sandbox)).startswith("unknown")
        process.status = "FINISH"
        assert await send(archive, sandbox) == "completed"
        assert (sandbox.counts["init"], sandbox.counts["put"]) == (1, 1)


async def test_a_vendor_that_can_not_be_asked(archive: Archive) -> None:
    """A look-up that is answered 503 or 401 leaves the row unknown, with its code, for a run that can ask.

    A process that was rejected meanwhile stays unknown too: somebody has to look at it.
    """
    archive.add("a.pdf", PDF, **BY_URL)
    lost = Rule(kind="reset_after", vendor="auco", step="put")
    async with Watched(lost, Rule(kind="status", vendor="auco", step="get", status=503)) as sandbox:
        assert (await send(archive, sandbox)).startswith("unknown transfer")
        assert (await archive.upload(sandbox)).unknown == 1
        sandbox.faults = Faults(rules=(Rule(kind="status", vendor="auco", step="get", status=401),))
        assert (await archive.upload(sandbox)).unknown == 1
        sandbox.faults = Faults()
        (process,) = sandbox.auco.processes
        for status, ends in (("REJECTED", "unknown"), ("EXPIRED", "unknown"), ("CREATED", "completed")):
            process.status = status
            assert (await send(archive, sandbox)).startswith(ends)
        assert (sandbox.counts["init"], sandbox.counts["put"]) == (1, 1)


# --- documents ----------------------------------------------------------------------------------------------------


async def test_status_by_code(archive: Archive) -> None:
    """A code is enough to read status, signers and bytes; what Auco does not have is said."""
    archive.add("a.pdf", PDF, **columns(name="May/Contract.pdf"))
    async with Watched() as sandbox:
        assert await send(archive, sandbox) == "completed"
        (process,) = sandbox.auco.processes
        async with bulkup.connect("auco", environment=sandbox.environment()) as client:
            found = await client.get_document("", process.code)
            assert (found.id, found.status) == (process.code, "CREATED")
            signer = {"name": ANA["name"], "email": ANA["email"], "status": "NOTIFICATION"}
            assert found.properties == {"name": "May/Contract.pdf", "signers": [signer]}
            assert await client.download_document("", process.code) == [("May/Contract.pdf", PDF)]
            process.status = "FINISH"
            assert (await client.get_document("", process.code)).status == "FINISH"
            with pytest.raises(StepError, match="DOCUMENT_NOT_FOUND"):
                await client.get_document("", "NONE")
            with pytest.raises(ConfigError, match="no way to list"):
                await client.list_documents("owner@example.com")
        assert not sandbox.breaches


async def test_a_document_without_bytes(archive: Archive) -> None:
    """A process whose bytes never came is read like any other, and has nothing to download."""
    archive.add("a.pdf", PDF, **columns(compress="yes", name="Contract"))
    async with Watched(Rule(kind="expired_url", vendor="auco")) as sandbox:
        assert await send(archive, sandbox) == "failed transfer url_expired"
        code = sandbox.auco.processes[0].code
        async with bulkup.connect("auco", environment=sandbox.environment()) as client:
            assert (await client.get_document("", code)).files[0].urls == ()
            with pytest.raises(StepError, match="has no file"):
                await client.download_document("", code)


# --- pauses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["init", "put"])
async def test_a_pause_costs_no_other_urls(archive: Archive, step: str) -> None:
    """One answer asks for a pause longer than a URL lives: no process is created whose URL would wait it out."""
    for number in range(12):
        archive.add(f"{number}.pdf", PDF, **columns(compress="yes", name=f"Contract {number}"))
    rule = Rule(kind="status", vendor="auco", step=step, status=429, retry_after=2, times=1)
    settings = {"BULKUP_AUCO_URL_LIFE": "1"}
    async with Sandbox(options=AucoOptions(url_life=1), faults=Faults(rules=(rule,))) as sandbox:
        environment = sandbox.environment() | settings
        await archive.upload(sandbox, environment=environment, retry_for=10, concurrency=2)
        refused = 1 if step == "put" else 0  # that one URL is used up
        ends = [f"{end.state} {end.error_code}" for end in archive.ended().values()]
        assert (
            ends.count("completed None") >= 12 - refused - 1
        )  # the other may have its process by then, and here its store is the same server
