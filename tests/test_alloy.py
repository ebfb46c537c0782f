"""What only Alloy has: two ways to log in, tokens that end, descriptions, ``uploaded``, rate limits."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

import bulkup
from bulkup import config
from bulkup.clock import Clock
from bulkup.events import DocumentEnded, Event
from bulkup.ledgers import open_ledger
from bulkup.model import Content, Document, Reply, Ticket
from bulkup.providers.alloy import Alloy
from bulkup.providers.alloy_columns import AlloyColumns
from bulkup.providers.base import Found, Outgoing, Trace
from bulkup.run import Order, admit, send
from bulkup.sandbox import AlloyOptions, Faults, Rule, Sandbox
from bulkup.sandbox.alloy.documents import AlloyDocument
from bulkup.tasks import in_thread, threads
from tests.conftest import QUICK, Archive
from tests.test_lightreach_documents import Vendor
from tests.test_loanpro import client_of, counts, wire
from tests.test_resume import BEFORE_ANSWERED, rewind

BEARER = {"BULKUP_ALLOY_AUTH": "bearer"}
DOCUMENTS = "/alloy/entities/P-1/documents"


class Time:
    """Time that moves only when somebody waits, or when a test moves it; of the client and of the sandbox.

    Attributes:
        waiting: how many wait; none gets on before ``open`` is set.
    """

    def __init__(self) -> None:
        self.now = 1_750_000_000.0
        self.waiting = 0
        self.open = asyncio.Event()
        self.open.set()
        self.clock = Clock(lambda: self.now, lambda: self.now, self.sleep, lambda: 0.5)

    async def sleep(self, seconds: float) -> None:
        """Wait, which takes no time."""
        ends = self.now + seconds
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        self.now = max(self.now, ends)


def row(archive: Archive, name: str = "a.pdf", content: bytes = b"abc", /, **columns: str) -> None:
    """A row of the entity P-1, a licence unless said otherwise."""
    archive.add(name, content, provider="alloy", **{"entity_token": "P-1", "type": "license"} | columns)


def faults(*rules: Rule) -> Faults:
    """A plan of these rules, at Alloy."""
    return Faults(rules=tuple(rule.model_copy(update={"vendor": "alloy"}) for rule in rules))


def started(*rules: Rule, clock: Callable[[], float] | None = None, **options: Any) -> Sandbox:
    """A sandbox with these faults and switches."""
    return Sandbox(options=AlloyOptions(**options), faults=faults(*rules), clock=clock or time.time)


async def upload(archive: Archive, sandbox: Sandbox, **options: Any) -> bulkup.Summary:
    """A run with a bearer token."""
    return await archive.upload(sandbox, environment=sandbox.environment() | BEARER, **options)


async def run(
    archive: Archive,
    sandbox: Sandbox,
    clock: Clock | None = None,
    told: Callable[[Event], None] = lambda _event: None,
    concurrency: int = 1,
    **adapter: Any,
) -> bulkup.Summary:
    """A run with a clock, a subscriber or an adapter's settings of its own."""
    archive.events.clear()
    settings = config.settings(**QUICK | {"concurrency": concurrency, "retry_for": 100})
    order = Order(str(archive.manifest()))
    with threads(1, "ledger") as thread:
        ledger = await in_thread(thread, open_ledger, archive.ledger)
        prepare = partial(admit, order, ledger, environment=sandbox.environment(), complain=print)
        admitted = await in_thread(thread, prepare)
        alloy = admitted.adapters["alloy"]
        assert isinstance(alloy, Alloy)
        admitted = replace(admitted, adapters={"alloy": replace(alloy, **adapter)})
        subscribers = [archive.events.append, told]
        try:
            return await send(admitted, ledger, settings, subscribers, ledger_thread=thread, clock=clock)
        finally:
            await in_thread(thread, ledger.close)


def held(sandbox: Sandbox) -> list[tuple[str, bytes | None]]:
    """Name and bytes of all that was described."""
    return [(d.description["name"], d.stored.read() if d.stored else None) for d in sandbox.alloy.documents]


# --- the wire -------------------------------------------------------------------------------------------------------

NOTE = {"note": "from the archive", "note_author_agent_email": "agent@example.com"}


@pytest.mark.parametrize(
    ("filename", "columns", "description"),
    [
        ("driver_license.pdf", {}, {"name": "driver_license", "extension": "pdf"}),
        ("a.tar.gz", {}, {"name": "a.tar", "extension": "gz"}),
        ("Größe 1.PDF", {}, {"name": "Größe 1", "extension": "PDF"}),
        ("README", {}, {"name": "README"}),
        (".profile", {}, {"name": ".profile"}),
        ("notes.", {}, {"name": "notes."}),
        ("scan", {"extension": "pdf"}, {"name": "scan", "extension": "pdf"}),
        ("scan.jpeg", {"extension": "jpg"}, {"name": "scan", "extension": "jpg"}),
        ("x.png", {"name": "Passport, page 1"}, {"name": "Passport, page 1", "extension": "png"}),
        ("x.png", {"name": "007.x"}, {"name": "007.x", "extension": "png"}),
        ("x.png", NOTE, {"name": "x", "extension": "png"} | NOTE),
        ("x.png", {"note": "alone"}, {"name": "x", "extension": "png", "note": "alone"}),
    ],
)
async def test_what_goes_over_the_wire(
    archive: Archive, filename: str, columns: dict[str, str], description: dict[str, str]
) -> None:
    """The guide's body and no other key, the extension apart from the name; then the octets, with the credentials."""
    row(archive, filename, **columns)
    async with started(required=frozenset({"name", "type"})) as sandbox:
        async with wire(sandbox) as sent:
            assert (await archive.upload(sandbox)).completed == 1
        assert not sandbox.breaches
    describe, put = sent
    token = sandbox.alloy.documents[0].token
    assert (describe.method, describe.target) == ("POST", DOCUMENTS)
    assert describe.json == description | {"type": "license"}
    assert (put.method, put.target, put.body) == ("PUT", f"{DOCUMENTS}/{token}", b"abc")
    access = sandbox.alloy.access
    basic = "Basic " + base64.b64encode(f"{access.token}:{access.secret}".encode()).decode()
    host = sandbox.environment()["BULKUP_ALLOY_BASE_URL"].split("/")[2]
    assert describe.headers == {
        "Host": host,
        "Accept": "application/json",
        "Authorization": basic,
        "Content-Type": "application/json",
        "Content-Length": str(len(describe.body)),
    }
    octets = {"Content-Type": "application/octet-stream", "Content-Length": "3"}
    assert put.headers == {"Host": host, "Authorization": basic} | octets


async def test_a_login_goes_by_the_header(archive: Archive) -> None:
    """Basic for the login alone, then the bearer for describe, octets, list and download; what reads has no body."""
    row(archive, entity_token="P/1 ä")
    async with started() as sandbox:
        async with wire(sandbox) as sent:
            environment = sandbox.environment() | BEARER
            environment["BULKUP_ALLOY_BASE_URL"] += "/"
            assert (await archive.upload(sandbox, environment=environment)).completed == 1
            async with bulkup.connect("alloy", environment=environment) as client:
                (document,) = await client.list_documents("entity:P/1 ä")
                assert await client.download_document("P/1 ä", document.id) == [("a.pdf", b"abc")]
        assert not sandbox.breaches
    path = "/alloy/entities/P%2F1%20%C3%A4/documents"
    login = ("POST", "/alloy/oauth/bearer", "Basic")
    assert [(each.method, each.target, each.headers["Authorization"].split()[0]) for each in sent] == [
        login,
        ("POST", path, "Bearer"),
        ("PUT", f"{path}/{document.id}", "Bearer"),
        login,
        ("GET", path, "Bearer"),
        ("GET", path, "Bearer"),
        ("GET", f"{path}/{document.id}", "Bearer"),
    ]
    assert sent[0].json == {"grant_type": "client_credentials"}
    assert all((each.body, each.headers.get("Content-Type")) == (b"", None) for each in sent if each.method == "GET")


# --- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["oauth", "former"])
async def test_one_login_serves_all_workers(archive: Archive, form: str) -> None:
    """Both forms of a login's answer are understood."""
    for number in range(20):
        row(archive, f"{number}.pdf")
    async with started(login_answer=form) as sandbox:
        assert (await upload(archive, sandbox)).completed == 20
        assert counts(sandbox) == {"login": 1, "init": 20, "put": 20}


@pytest.mark.parametrize("form", ["oauth", "former"])
async def test_a_token_is_renewed_before_it_ends(archive: Archive, form: str) -> None:
    """An hour later, and never by way of a refusal."""
    at = Time()
    for number in range(12):
        row(archive, f"{number}.pdf")

    def later(event: Event) -> None:
        if isinstance(event, DocumentEnded):
            at.now += 1000

    async with started(clock=lambda: at.now, login_answer=form) as sandbox:
        assert (await run(archive, sandbox, at.clock, later, auth="bearer")).completed == 12
        assert counts(sandbox) == {"login": 3, "init": 12, "put": 12}


@pytest.mark.parametrize(("moved", "logins"), [(3539, 1), (3541, 2), (3601, 2)])
async def test_a_token_is_good_until_a_minute_before_its_end(moved: float, logins: int) -> None:
    """3600 s after the login it ends."""
    at = Time()
    async with started(clock=lambda: at.now) as sandbox:
        async with client_of(bearer_adapter(sandbox), at.clock) as client:
            await client.list_documents("P-1")
            at.now += moved
            await client.list_documents("P-1")
        assert counts(sandbox) == {"login": logins, "list": 2}


@pytest.mark.parametrize("behind", [-7200, 7200])
async def test_a_clock_that_differs_from_the_vendors(archive: Archive, behind: float) -> None:
    """An end of the token that can't be right is no reason to log in for each call."""
    for number in range(5):
        row(archive, f"{number}.pdf")
    at = Time()
    async with started(clock=lambda: at.now - behind, login_answer="former") as sandbox:
        assert (await run(archive, sandbox, at.clock, auth="bearer")).completed == 5
        assert counts(sandbox)["login"] == 1


async def test_a_token_that_ended_early_is_renewed_during_describe_and_octets(archive: Archive) -> None:
    """401 with 4012: one new login, and the same step again."""
    row(archive, "a.pdf")
    row(archive, "b.pdf")
    async with started() as sandbox:
        sandbox.alloy.access.uses = 1
        assert (await upload(archive, sandbox, concurrency=1)).completed == 2
        assert counts(sandbox) == {"login": 4, "init": 3, "put": 4}
        assert all(document.puts == 1 for document in sandbox.alloy.documents)
        assert not sandbox.breaches


async def test_a_token_that_ended_early_is_renewed_during_a_list() -> None:
    """As during an upload."""
    async with started() as sandbox, client_of(bearer_adapter(sandbox)) as client:
        sandbox.alloy.access.uses = 1
        for _ in range(2):
            assert await client.list_documents("P-1") == []
        assert counts(sandbox) == {"login": 2, "list": 3}


@pytest.mark.parametrize("rows", [1, 30])
async def test_a_second_4012_is_final(archive: Archive, rows: int) -> None:
    """A vendor that takes no token stops the lane, after one repetition; the rows that were not sent stay pending."""
    for number in range(rows):
        row(archive, f"{number}.pdf")
    async with started() as sandbox:
        sandbox.alloy.access.uses = 0
        summary = await upload(archive, sandbox, concurrency=1)
        assert (summary.failed, summary.pending) == (1, rows - 1)
        assert counts(sandbox) == {"login": 2, "init": 2}
        (end,) = archive.ended().values()
        assert (end.stage, end.error_code) == ("init", "token_expired")
        assert "4012" in (end.error or "")
        sandbox.alloy.access.uses = None
        assert (await upload(archive, sandbox)).completed == rows


async def test_a_second_4012_of_the_octets_is_final(archive: Archive) -> None:
    """One repetition of the PUT, as of every step."""
    row(archive)
    async with started() as sandbox:
        refuse_octets(sandbox, times=9)
        assert (await upload(archive, sandbox)).failed == 1
        assert counts(sandbox) == {"login": 2, "init": 1, "put": 2}


def refuse_octets(sandbox: Sandbox, times: int) -> None:
    """Let no token be good for a PUT, so many times."""
    access = sandbox.alloy.access
    check = access.check

    def checked(request: Any) -> None:
        if request.method == "PUT" and counts(sandbox)["put"] <= times:
            access.expire()
        check(request)

    access.check = checked  # type: ignore[method-assign] # the stand-in's tokens are good for all calls alike


async def test_a_token_that_ended_early_is_renewed_during_a_download(archive: Archive) -> None:
    """As during a list."""
    row(archive)
    async with started() as sandbox, client_of(bearer_adapter(sandbox)) as client:
        sandbox.alloy.access.uses = 1
        await upload(archive, sandbox)
        (document,) = sandbox.alloy.documents
        assert await client.download_document("P-1", document.token) == [("a.pdf", b"abc")]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_wrong_credentials_stop_the_vendor(archive: Archive, auth: str) -> None:
    """401 with 4011 says nothing of a row: the rest stays pending, and goes once the secret is right."""
    for number in range(30):
        row(archive, f"{number}.pdf")
    async with started() as sandbox:
        environment = sandbox.environment() | {"BULKUP_ALLOY_SECRET": "wrong", "BULKUP_ALLOY_AUTH": auth}
        summary = await archive.upload(sandbox, environment=environment, concurrency=2)
        assert summary.failed <= 2
        assert summary.failed + summary.pending == 30
        assert {end.error_code for end in archive.ended().values()} == {"unauthorized"}
        assert all("4011: Unauthorized" in (end.error or "") for end in archive.ended().values())
        assert counts(sandbox) == ({"login": 1} if auth == "bearer" else {"init": summary.failed})
        assert (await archive.upload(sandbox)).completed == 30


def bearer_adapter(sandbox: Sandbox) -> Alloy:
    """The adapter with the stand-in's credentials, that logs in."""
    access = sandbox.alloy.access
    return Alloy(base_url=f"{sandbox.url}/alloy", token=access.token, secret=access.secret, auth="bearer")


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        ({"access_token": "t", "token_type": "bearer", "expires_in": 60}, 1060),
        ({"access_token": "t", "expires_in": 59.5}, 1059.5),
        ({"access_token": "t", "expires_in": "60"}, 1060),
        ({"access_token": "t"}, 4600),
        ({"access_token": "t", "expires_in": 0}, 4600),
        ({"access_token": "t", "expires_in": 99999}, 4600),
        ({"bearer_token": "t", "expires": 1_060_000}, 1060),
        ({"bearer_token": "t", "expires": 1_059_500.5}, 1059.5005),
        ({"bearer_token": "t", "expires": 999_000}, 4600),
        ({"bearer_token": "t", "expires": None}, 4600),
    ],
)
def test_both_forms_of_a_login(answer: dict[str, object], ends: float) -> None:
    """Seconds of life, or milliseconds of the end; an hour where neither is credible."""
    renewed = Alloy(token="tok", secret="sec-ret", auth="bearer").logged_in(answer, 1000.0)
    assert renewed.authorize("GET", "/", b"") == {"Authorization": "Bearer t"}
    assert renewed.expires_at == ends
    assert "sec-ret" not in repr(renewed)
    assert set(renewed.secrets) == {"tok", "sec-ret", "t", "dG9rOnNlYy1yZXQ="}


@pytest.mark.parametrize("answer", [{}, {"access_token": ""}, {"bearer_token": None}, {"token": "t"}])
def test_a_login_without_a_token(answer: dict[str, object]) -> None:
    """Such an answer can't be used."""
    with pytest.raises(bulkup.StepError, match="unreadable_answer"):
        Alloy(auth="bearer").logged_in(answer, 0)


# --- columns --------------------------------------------------------------------------------------------------------


async def test_six_types(archive: Archive) -> None:
    """The guide's, each of them another document of the same file."""
    types = ["contract", "license", "passport", "utility", "other", "internal"]
    for kind in types:
        row(archive, type=kind)
    async with started() as sandbox:
        assert (await archive.upload(sandbox)).completed == 6
        assert sorted(document.description["type"] for document in sandbox.alloy.documents) == sorted(types)


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"type": "selfie"}, "column 'type': must be 'contract', 'license', 'passport', 'utility', 'other'"),
        ({"type": "License"}, "column 'type': must be"),
        ({"type": ""}, "column 'type': is required"),
        ({"entity_token": ""}, "column 'entity_token': is required"),
        ({"entity_token": ".."}, "column 'entity_token': must be an id, not a path"),
        ({"extension": ".pdf"}, "column 'extension': must be without its dot: 'pdf'"),
        ({"note_author_agent_email": "john"}, "column 'note_author_agent_email': must be an e-mail address"),
    ],
)
async def test_a_bad_row_sends_nothing(archive: Archive, columns: dict[str, str], complaint: str) -> None:
    """The complaint names row and column."""
    row(archive, "good.pdf")
    row(archive, "bad.pdf", **columns)
    async with started() as sandbox:
        with pytest.raises(bulkup.ManifestError) as caught:
            await archive.upload(sandbox)
        (told,) = (str(each) for each in caught.value.complaints)
        assert "row 2" in told
        assert complaint in told
        assert not sandbox.requests


@pytest.mark.parametrize("details", ["object", "list", "none"])
async def test_a_refused_agent_fails_the_row(archive: Archive, details: str) -> None:
    """In the vendor's words; put right in the manifest, the same row completes."""
    row(archive, "good.pdf")
    row(archive, "bad.pdf", note="n", note_author_agent_email="jane@example.com")
    async with started(agents=frozenset({"john@example.com"}), details=details) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (1, 1)
        end = archive.ended()[2]
        assert (end.stage, end.error_code) == ("init", "rejected")
        said = "jane@example.com is no agent of this account"
        more = "" if details == "none" else f": note_author_agent_email: {said}"
        assert end.error == f"HTTP 400: 4002: Request Body Validation Failure: {said}{more}"
        assert counts(sandbox) == {"init": 2, "put": 1}
        archive.rows[1]["note_author_agent_email"] = "john@example.com"
        assert (await archive.upload(sandbox)).completed == 1
        assert sandbox.alloy.documents[-1].description["note_author_agent_email"] == "john@example.com"


async def test_limits_of_your_own(archive: Archive) -> None:
    """Extensions and size are not published; where they are set, a file that breaks them is not described."""
    for name, content in (("a.pdf", b"123"), ("b.PDF", b"12"), ("c.exe", b"1"), ("d", b"1"), ("e.png", b"1234")):
        row(archive, name, content)
    async with started() as sandbox:
        assert (await run(archive, sandbox, extensions="pdf, png", max_size=3)).failed == 3
        codes = {row: (end.stage, end.error_code) for row, end in archive.ended().items() if end.error_code}
        assert codes == {3: ("init", "extension_refused"), 4: ("init", "extension_refused"), 5: ("init", "too_large")}
        assert counts(sandbox) == {"init": 2, "put": 2}


# --- the answer to the octets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["object", "array"])
@pytest.mark.parametrize("created", [200, 201])
async def test_both_answers_of_both_steps(archive: Archive, answer: str, created: int) -> None:
    """200 or 201; an object or an array of one."""
    row(archive)
    async with started(put_answer=answer, created=created) as sandbox:
        assert (await archive.upload(sandbox)).completed == 1
        assert counts(sandbox) == {"init": 1, "put": 1}
        (document,) = sandbox.alloy.documents
        assert archive.ledger_rows()[0]["document_id"] == document.token


async def test_uploaded_false_is_no_success(archive: Archive) -> None:
    """The row fails, whatever the status said; the next run sends the bytes to the same token."""
    row(archive)
    async with started(never_uploaded=True) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        (end,) = archive.ended().values()
        assert (end.stage, end.error_code) == ("transfer", "not_uploaded")
        sandbox.alloy.options = AlloyOptions()
        assert (await archive.upload(sandbox)).completed == 1
        assert counts(sandbox)["init"] == 1
        assert held(sandbox) == [("a", b"abc")]


async def test_an_answer_that_cannot_be_read_is_asked_for_in_the_list(archive: Archive) -> None:
    """The bytes are not sent again."""
    row(archive)
    async with started(Rule(kind="malformed", step="put")) as sandbox:
        assert (await archive.upload(sandbox)).completed == 1
        assert counts(sandbox) == {"init": 1, "put": 1, "list": 1}


LISTED = [{"document_token": "D-0", "uploaded": False}, {"document_token": "D-1", "uploaded": True}]


@pytest.mark.parametrize(
    ("body", "asked", "failed"),
    [
        (b'{"document_token": "D-1", "uploaded": true}', False, False),
        (b'[{"document_token": "D-1", "uploaded": true}]', False, False),
        (b'{"uploaded": true}', False, False),
        (b'[{"document_token": "D-0", "uploaded": false}, {"document_token": "D-1", "uploaded": true}]', False, False),
        (b'{"document_token": "D-1", "uploaded": false}', False, True),
        (b'[{"document_token": "D-1", "uploaded": false}]', False, True),
        (b'{"document_token": "D-0", "uploaded": false}', True, False),
        (b'[{"uploaded": true}, {"uploaded": true}]', True, False),
        (b'{"document_token": "D-1", "uploaded": "true"}', True, False),
        (b'{"document_token": "D-1"}', True, False),
        (b"[]", True, False),
        (b"", True, False),
        (b"<html>", True, False),
    ],
)
async def test_what_the_octets_are_answered(body: bytes, *, asked: bool, failed: bool) -> None:
    """Only a word on this very document counts; what says nothing of it makes the list be asked."""
    vendor = Vendor(LISTED)
    (receipt,) = await Alloy().finish(vendor, [outgoing()], Ticket(None, ("D-1",), ()), {0: Reply(200, body)})
    assert bool(vendor.calls) == asked
    assert (receipt.failure is not None) == failed
    assert receipt.document_id == (None if failed else "D-1")


def outgoing(name: str = "a.pdf") -> Outgoing:
    """A row on its way."""
    own = AlloyColumns.model_validate({"entity_token": "P-1", "type": "license"})
    return Outgoing(Document(1, "k", 1, "alloy", own.target, "/f", name, own), Content(3, 1))


async def test_a_token_is_one_segment_of_the_path() -> None:
    """Whatever the vendor puts into it."""
    ticket = await Alloy(base_url="http://x").init(Vendor({"document_token": "D/1 ?"}), [outgoing()])
    (upload,) = ticket.uploads
    assert upload.url.value == "http://x/entities/P-1/documents/D%2F1%20%3F"
    vendor = Vendor([{"document_token": "D/1 ?", "name": "a", "uploaded": True}])
    assert await Alloy(base_url="http://x").download_document(vendor, "P-1", "D/1 ?") == [("a", b"bytes")]
    ((url, auth),) = vendor.fetched
    assert (url.value, auth) == (upload.url.value, True)


@pytest.mark.parametrize("answer", [b"<html>", [], {}, {"document_token": ""}, {"document_token": None}, "D-1"])
async def test_a_description_without_a_token_counts_as_lost(answer: object) -> None:
    """What it said is not known, so the vendor is asked before anything is described again."""
    with pytest.raises(bulkup.StepError) as caught:
        await Alloy().init(Vendor(answer), [outgoing()])
    assert (caught.value.failure.code, caught.value.failure.answered) == ("unreadable_answer", False)


# --- refusals and limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["init", "put"])
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "rejected", "4000: Bad Request: no"),
        (403, "forbidden", "4013: Forbidden: no"),
        (404, "not_found", "4041: Not Found: no"),
        (409, "conflict", "4091: Conflict: no"),
        (422, "rejected", "no"),
    ],
)
async def test_4xx_is_permanent(archive: Archive, step: str, status: int, code: str, words: str) -> None:
    """One request, and the row fails at that step with minor code, type and message."""
    row(archive)
    async with started(Rule(kind="status", step=step, status=status, message="no")) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        assert counts(sandbox) == ({"init": 1} if step == "init" else {"init": 1, "put": 1})
        (end,) = archive.ended().values()
        assert (end.stage, end.error_code) == ("init" if step == "init" else "transfer", code)
        assert (end.error or "").startswith(f"HTTP {status}: ")
        assert (end.error or "").endswith(words)


@pytest.mark.parametrize(("step", "status"), [("login", 500), ("init", 502), ("put", 504), ("list", 503)])
async def test_5xx_is_tried_again(archive: Archive, step: str, status: int) -> None:
    """Until it works; nothing is there twice."""
    row(archive)
    broken = Rule(kind="status", step=step, status=status, times=2)
    unread = Rule(kind="malformed", step="put")
    async with started(broken, *([unread] if step == "list" else [])) as sandbox:
        assert (await upload(archive, sandbox, retry_for=5)).completed == 1
        assert counts(sandbox)[step] == 3
        assert held(sandbox) == [("a", b"abc")]


@pytest.mark.parametrize("headers", ["all", "reset"])
@pytest.mark.parametrize("step", ["init", "put"])
async def test_429_holds_all_workers_back(archive: Archive, step: str, headers: str) -> None:
    """For as long as ``retry-after`` says or, without it, until ``alloy-ratelimit-reset``: then all go on."""
    at = Time()
    at.open.clear()
    for number in range(12):
        row(archive, f"{number}.pdf")
    limited = Rule(kind="status", step=step, status=429, times=1)
    async with started(limited, clock=lambda: at.now, rate_headers=headers, rate_reset=30) as sandbox:
        uploading = asyncio.create_task(run(archive, sandbox, at.clock, concurrency=3))
        try:
            await until(
                lambda: at.waiting >= 2, seconds=5
            )  # one of those in a queue waits for the time, the others for it
            assert counts(sandbox)[step] <= 3  # what was on its way beside the one that was refused
        finally:
            begin = at.now
            at.open.set()
            assert (await uploading).completed == 12
        assert at.now >= begin + 30
        assert counts(sandbox)[step] == 13
        assert all(content == b"abc" for _, content in held(sandbox))


async def test_429_of_a_description_holds_the_octets_back(archive: Archive) -> None:
    """Both go to one host, which has one limit: while one worker waits to describe, the other waits with its bytes."""
    at = Time()
    at.open.clear()
    row(archive, "first.pdf")
    row(archive, "second.pdf")
    rules = (  # both are described at once; the first is refused, then the second is answered
        Rule(kind="latency", step="init", match="first", seconds=0.3, times=1),
        Rule(kind="latency", step="init", match="second", seconds=0.6),
        Rule(kind="status", step="init", status=429, match="first", times=1),
    )
    async with started(*rules, clock=lambda: at.now, rate_reset=30) as sandbox:
        uploading = asyncio.create_task(run(archive, sandbox, at.clock, concurrency=2))
        try:
            await until(lambda: at.waiting == 2, seconds=2)
            assert "put" not in counts(sandbox)
        finally:
            at.open.set()
            assert (await uploading).completed == 2


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for something that is to happen soon."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a clock that others wait by has no event
            await asyncio.sleep(0.005)


async def test_a_limit_that_is_longer_than_the_patience_stops_the_vendor(archive: Archive) -> None:
    """What was told so is not failed for good: it waits with the rest for the next run."""
    for number in range(10):
        row(archive, f"{number}.pdf")
    async with started(Rule(kind="status", step="init", status=429), rate_headers="reset", rate_reset=900) as sandbox:
        summary = await archive.upload(sandbox, concurrency=1)
        assert summary.completed == 0
        assert counts(sandbox) == {"init": 1}
        assert any("it asks to wait" in text for text in archive.notices())
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).completed == 10


# --- a token is used again ------------------------------------------------------------------------------------------


async def test_a_description_without_bytes_is_used_by_the_next_run(archive: Archive) -> None:
    """The octets failed for a whole run: the next sends them to the same token."""
    row(archive)
    async with started(Rule(kind="status", step="put", status=503)) as sandbox:
        assert (await archive.upload(sandbox, settle=0)).completed == 0
        (token,) = (document.token for document in sandbox.alloy.documents)
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).completed == 1
        assert [document.token for document in sandbox.alloy.documents] == [token]
        assert counts(sandbox)["init"] == 1
        assert archive.ledger_rows()[0]["document_id"] == token


@pytest.mark.parametrize("runs", [1, 2])
async def test_a_description_whose_answer_was_lost_is_found(archive: Archive, runs: int) -> None:
    """In the same run or in the next; it is not described twice."""
    row(archive, note="n")
    async with started(Rule(kind="reset_after", step="init", times=1)) as sandbox:
        await archive.upload(sandbox, retry_for=5 if runs == 1 else 0, settle=0)
        assert held(sandbox) == [("a", b"abc" if runs == 1 else None)]
        if runs == 2:
            assert (await archive.upload(sandbox)).completed == 1
        assert counts(sandbox)["init"] == 1
        assert held(sandbox) == [("a", b"abc")]
        assert counts(sandbox)["list"] >= 1


async def test_a_vendor_that_lists_no_descriptions(archive: Archive) -> None:
    """A known token is used all the same; one that nobody knows is described again, and the document is there once."""
    row(archive, "a.pdf")
    row(archive, "b.pdf")
    rules = (
        Rule(kind="reset_after", step="init", match="b", times=1),
        Rule(kind="status", step="put", status=503, match="D-"),
    )
    async with started(*rules, list_unfinished=False) as sandbox:
        assert (await archive.upload(sandbox, settle=0)).completed == 0
        sandbox.faults = Faults()
        summary = await archive.upload(sandbox)
        assert summary.completed == 2, archive.ended()
        assert sorted((name, content) for name, content in held(sandbox) if content) == [("a", b"abc"), ("b", b"abc")]
        assert [name for name, content in held(sandbox) if not content] == ["b"]


async def test_a_description_that_vanished_is_made_anew(archive: Archive) -> None:
    """Whether unfinished documents vanish is not known: 404 for a token of an earlier run."""
    row(archive)
    async with started(Rule(kind="status", step="put", status=503)) as sandbox:
        await archive.upload(sandbox, settle=0)
        sandbox.alloy.forget(sandbox.alloy.documents[0].token)
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).completed == 1
        assert counts(sandbox)["init"] == 2
        assert held(sandbox) == [("a", b"abc")]


async def test_a_second_put_may_be_refused(archive: Archive) -> None:
    """The bytes came, their answer was lost, and the vendor takes none twice: the list says that they are there."""
    row(archive)
    async with started(Rule(kind="reset_after", step="put", times=1), overwrite=False) as sandbox:
        assert (await archive.upload(sandbox, retry_for=5)).completed == 1
        assert counts(sandbox)["put"] == 2
        assert [document.puts for document in sandbox.alloy.documents] == [1]


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        ({}, True),
        ({"name": "b"}, False),
        ({"extension": "png"}, False),
        ({"type": "passport"}, False),
        ({"note": "another"}, False),
        ({"entity": "P-2"}, False),
        ({"timestamp": 1}, False),
        ({"puts": 1}, False),
    ],
)
async def test_whose_description_it_is(archive: Archive, other: dict[str, Any], *, taken: bool) -> None:
    """Only one that waits, says the same of the same entity, and was made since, is that of a killed run's call."""
    row(archive, note="n")
    async with started() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, BEFORE_ANSWERED)
        (first,) = sandbox.alloy.documents
        sandbox.alloy.forget(first.token)
        description = dict(first.description) | {n: v for n, v in other.items() if n in first.description}
        entity, at = other.get("entity", "P-1"), other.get("timestamp", first.timestamp)
        theirs = AlloyDocument("D-1", entity, description, at, first.stored if "puts" in other else None)
        sandbox.alloy._documents["D-1"] = theirs  # as if somebody had described it
        assert (await archive.upload(sandbox)).completed == 1
        assert theirs.puts == int(taken)
        assert len(sandbox.alloy.documents) == (1 if taken else 2)


async def test_two_rows_never_share_a_description(archive: Archive) -> None:
    """Each of two rows that say the same gets a document of its own, though both answers were lost."""
    row(archive, "one/a.pdf", b"1")
    row(archive, "two/a.pdf", b"2")
    async with started(Rule(kind="reset_after", step="init", times=2)) as sandbox:
        assert (await archive.upload(sandbox, retry_for=10)).completed == 2
        assert sorted(content for _, content in held(sandbox) if content) == [b"1", b"2"]
        assert len(sandbox.alloy.documents) == 2
        ids = {row["document_id"] for row in archive.ledger_rows()}
        assert ids == {document.token for document in sandbox.alloy.documents}


async def test_descriptions_of_a_killed_run_are_used_once_each(archive: Archive) -> None:
    """Two rows that say the same, two documents that wait: each row fills one of them."""
    row(archive, "one/a.pdf", b"1")
    row(archive, "two/a.pdf", b"2")
    async with started() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, BEFORE_ANSWERED)
        for document in sandbox.alloy.documents:
            document.stored = None
        assert (await archive.upload(sandbox)).completed == 2
        assert sorted(held(sandbox), key=repr) == [("a", b"1"), ("a", b"2")]


async def test_a_description_of_another_row_is_left_to_it(archive: Archive) -> None:
    """One row's bytes were refused, its document waits; another row that says the same gets one of its own."""
    row(archive, "one/a.pdf", b"1")
    async with started(Rule(kind="status", step="put", status=503)) as sandbox:
        await archive.upload(sandbox, settle=0)
        first = archive.rows.pop()
        row(archive, "two/a.pdf", b"2")
        sandbox.faults = faults(Rule(kind="reset_before", step="init", times=1))
        assert (await archive.upload(sandbox, retry_for=5)).completed == 1
        assert held(sandbox) == [("a", None), ("a", b"2")]
        archive.rows.append(first)
        assert (await archive.upload(sandbox)).completed == 1
        assert held(sandbox) == [("a", b"1"), ("a", b"2")]


@pytest.mark.parametrize("extension", [None, ""])
async def test_a_document_without_an_extension_is_found(extension: str | None) -> None:
    """However the vendor writes that there is none."""
    item = {"document_token": "D-1", "name": "README", "type": "license", "uploaded": False, "timestamp": 1}
    vendor = Vendor([item | {"extension": extension}])
    assert await Alloy().find(vendor, [Trace(outgoing("README"), "")], frozenset()) == [Found("D-1", arrived=False)]
    assert await Alloy().find(vendor, [Trace(outgoing("README"), "")], frozenset({"D-1"})) == [None]


# --- list and download ----------------------------------------------------------------------------------------------


async def test_list_get_and_download(archive: Archive) -> None:
    """What the vendor says of a document, its notes among it; bytes that are not there yet are an error."""
    row(archive, "a.pdf", **NOTE)
    row(archive, "README", extension="txt", type="passport")
    async with started(Rule(kind="status", step="put", status=403, match="README")) as sandbox:
        await archive.upload(sandbox)
        async with client_of(bearer_adapter(sandbox)) as client:
            documents = {document.type: document for document in await client.list_documents("entity:P-1")}
            done, waiting = documents["license"], documents["passport"]
            assert (done.status, waiting.status) == ("uploaded", "described")
            assert (done.files[0].name, waiting.files[0].name) == ("a.pdf", "README.txt")
            notes: Any = done.properties["notes"]
            assert [(note["note"], note["note_author_agent_email"]) for note in notes] == [tuple(NOTE.values())]
            assert (done.properties["approved"], done.properties["approval_agent_email"]) == (None, None)
            assert await client.get_document("entity:P-1", done.id) == done
            assert await client.download_document("P-1", done.id) == [("a.pdf", b"abc")]
            for call in (client.get_document("P-2", done.id), client.download_document("P-1", waiting.id)):
                with pytest.raises(bulkup.StepError, match="not_found"):
                    await call
        assert not sandbox.breaches


@pytest.mark.parametrize("answer", [{}, {"documents": []}, "none", None])
async def test_what_is_no_list_is_not_taken_for_an_empty_one(answer: object) -> None:
    """To take it for empty would describe everything again."""
    with pytest.raises(bulkup.StepError, match="unreadable_answer"):
        await Alloy().list_documents(Vendor(answer), "P-1")
