"""What only LoanPro has: its headers and bodies, 409, updates after the bytes, orphaned records, pages, ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import anyio
import pytest

import bulkup
from bulkup.api import Api
from bulkup.client import Client
from bulkup.clock import Clock
from bulkup.ledger import Fate
from bulkup.ledgers import open_ledger
from bulkup.model import Content, Document
from bulkup.providers.base import Adapter, Outgoing
from bulkup.providers.loanpro import LoanPro
from bulkup.providers.loanpro_columns import LoanProColumns
from bulkup.sandbox import Faults, LoanProOptions, Rule, Sandbox
from bulkup.schedule import Backoff
from bulkup.terms import Terms
from bulkup.track import Following, Tracker
from bulkup.traffic import Traffic
from bulkup.transport import Limits
from bulkup.wire import Wire
from tests.conftest import Archive
from tests.test_lightreach_documents import Vendor
from tests.test_resume import rewind

API = "/loanpro/api/public/api/1"


@dataclass(frozen=True)
class Sent:
    """One request as it went over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@asynccontextmanager
async def wire(sandbox: Sandbox) -> AsyncIterator[list[Sent]]:
    """All requests to a sandbox, byte for byte, in the order of their connections."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    streams: list[bytearray] = []

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray | None) -> None:
        while data := await source.read(65536):
            if kept is not None:
                kept += data
            target.write(data)
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams.append(bytearray())
        theirs, ours = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, ours, streams[-1]), pump(theirs, writer, None))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    sent: list[Sent] = []
    sandbox._stage.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"  # so that signed URLs lead here too
    try:
        yield sent
    finally:
        server.close()
        for stream in streams:
            sent += _requests(bytes(stream))


def _requests(stream: bytes) -> list[Sent]:
    """The requests of one connection."""
    found = []
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
        assert len(headers) == len(lines)  # none twice
        length = int(headers.get("Content-Length", 0))
        found.append(Sent(method, target, headers, rest[:length]))
        stream = rest[length:]
    return found


@asynccontextmanager
async def client_of(adapter: Adapter, clock: Clock | None = None) -> AsyncIterator[Client]:
    """As `bulkup.connect`, of an adapter with settings of its own."""
    clock, backoff = clock or Clock(), Backoff(patience=0.5)
    async with Wire() as transport:
        yield Client(
            Api(
                adapter,
                transport,
                limits=Limits(),
                backoff=backoff,
                clock=clock,
                tracker=Tracker(Following(), Limits(), clock),
                traffic=Traffic("loanpro", Terms(backoff=backoff), clock),
                asking=anyio.Semaphore(4),
            )
        )


def adapter_of(sandbox: Sandbox) -> LoanPro:
    """The adapter with the stand-in's credentials."""
    vendor = sandbox.loanpro
    return LoanPro(base_url=f"{sandbox.url}/loanpro", token=vendor.token, instance_id=vendor.instance_id)


def row(archive: Archive, name: str = "a.pdf", content: bytes = b"abc", /, **columns: str) -> None:
    """A row of section 7 and, unless said otherwise, loan 5."""
    owner = {} if "customer_id" in columns else {"loan_id": "5"}
    archive.add(name, content, provider="loanpro", **{"section_id": "7"} | owner | columns)


def started(*rules: Rule, **options: Any) -> Sandbox:
    """A sandbox with these faults and switches."""
    plan = Faults(rules=tuple(rule.model_copy(update={"vendor": "loanpro"}) for rule in rules))
    return Sandbox(options=LoanProOptions(**options), faults=plan)


def counts(sandbox: Sandbox) -> dict[str, int]:
    """How often each step was requested."""
    return {step: count for (_, step), count in sandbox.requests.items()}


def fates(archive: Archive) -> Mapping[Fate, int]:
    """What the ledger says of records that never got their bytes."""
    with open_ledger(archive.ledger, exclusive=False) as ledger:
        return ledger.orphans()


def history(archive: Archive) -> list[tuple[Any, ...]]:
    """The former records of all rows, and their fate."""
    return archive.sql("SELECT document_id, fate FROM former_documents ORDER BY id")


# --- the wire -------------------------------------------------------------------------------------------------------

FRAME = {"id": 89, "__id": 89, "__update": True}


@pytest.mark.parametrize(
    ("columns", "init", "update"),
    [
        ({}, {}, None),
        ({"custom_file_name": "007"}, {"customFileName": "007"}, None),
        ({"section_id": "007"}, {"sectionId": "007"}, None),
        ({"section_id": "99999999999999999999"}, {"sectionId": "99999999999999999999"}, None),
        ({"archived": "yes"}, {}, {"archived": 1}),
        ({"archived": "false"}, {}, {"archived": 0}),
        ({"customer_visible": "1"}, {}, {"customerVisible": 1}),
        ({"description": "NA"}, {}, {"sectionId": "7", "description": "NA"}),
        (
            {"customer_visible": "no", "archived": "true", "description": "x", "customer_id": "9"},
            {},
            {"customerVisible": 0, "archived": 1, "sectionId": "7", "description": "x"},
        ),
    ],
)
async def test_what_goes_over_the_wire(
    archive: Archive, columns: dict[str, str], init: dict[str, object], update: dict[str, object] | None
) -> None:
    """Exactly the guide's bodies, with the three headers; the PUT has none; no update unless the row asks for one."""
    row(archive, "größe 1.pdf", **columns)
    async with started() as sandbox:
        async with wire(sandbox) as sent:
            assert (await archive.upload(sandbox)).completed == 1
        assert not sandbox.breaches
    owner, entity = ("Customers(9)", "Customer") if "customer_id" in columns else ("Loans(5)", "Loan")
    calls = [request for request in sent if request.target.startswith(API)]
    bodies = [{"sectionId": 7, "fileName": "größe 1.pdf", "size": 3} | init]
    targets = [("POST", f"{API}/{owner}/document/upload")]
    if update is not None:
        bodies.append(update | FRAME)
        targets.append(("PUT", f"{API}/odata.svc/{entity}Documents(89)"))
    assert [(request.method, request.target) for request in calls] == targets
    assert [request.json for request in calls] == bodies
    host = sandbox.environment()["BULKUP_LOANPRO_BASE_URL"].split("/")[2]
    for request in calls:
        assert request.headers == {
            "Host": host,
            "Accept": "application/json",
            "Authorization": f"Bearer {sandbox.loanpro.token}",
            "Autopal-Instance-Id": sandbox.loanpro.instance_id,
            "Content-Type": "application/json",
            "Content-Length": str(len(request.body)),
        }
    (put,) = (request for request in sent if request not in calls)
    assert (put.method, put.body) == ("PUT", b"abc")
    assert put.headers == {"Host": host, "Content-Length": "3"}


async def test_what_reads_has_the_headers_and_no_body(archive: Archive) -> None:
    """A GET has the three headers too; ids are one segment of the path, and ``$`` stands as in the vendor's docs."""
    row(archive)
    async with started() as sandbox:
        await archive.upload(sandbox)
        async with wire(sandbox) as sent, bulkup.connect("loanpro", environment=sandbox.environment()) as client:
            await client.get_document("loan:5", "89")
            for container, id_ in (("loan:7/8 ", "90"), ("customer:9(1)", "a/b")):
                with pytest.raises(bulkup.StepError, match="conflict"):
                    await client.archive_document(container, id_)
                with pytest.raises(bulkup.StepError, match="conflict"):
                    await client.list_documents(container)
    expand = "?$select=FileAttachment&$expand=FileAttachment"
    assert [request.target.removeprefix(API) for request in sent] == [
        "/odata.svc/Loans(5)/Documents?$top=50&$start=0",
        "/odata.svc/Loans(5)/Documents?$top=50&$start=1",
        f"/odata.svc/Loans(5)/Documents(89){expand}",
        "/odata.svc/LoanDocuments(90)",
        "/odata.svc/Loans(7%2F8%20)/Documents?$top=50&$start=0",
        "/odata.svc/CustomerDocuments(a%2Fb)",
        "/odata.svc/Customers(9%281%29)/Documents?$top=50&$start=0",
    ]
    for request in sent:
        if request.method == "GET":
            assert request.body == b""
            names = {"Host", "Accept", "Authorization", "Autopal-Instance-Id", "Content-Type"}
            assert request.headers.keys() == names
            assert request.headers["Content-Type"] == "application/json"


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["value", "message", "d", "full", "text"])
async def test_409_is_permanent(archive: Archive, form: str) -> None:
    """One init, and the row fails in the vendor's words, in each form of an error; the other rows go on."""
    row(archive, "good.pdf")
    row(archive, "bad.pdf", section_id="8")
    async with started(sections=frozenset({"7"}), error_form=form) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (1, 1)
        assert counts(sandbox) == {"init": 2, "put": 1}
        end = archive.ended()[2]
        assert (end.stage, end.error_code) == ("init", "conflict")
        said = "there is no section 8" + ("; nothing was changed" if form == "full" else "")
        assert end.error == f"HTTP 409: {said}"
        assert archive.ledger_rows()[1]["error"] == end.error


async def test_a_loan_that_is_not_there_is_permanent(archive: Archive) -> None:
    """The next run asks once more, since the row may have been put right at the vendor."""
    row(archive, loan_id="6")
    async with started(owners=frozenset({"loan:5"})) as sandbox:
        for run in (1, 2):
            assert (await archive.upload(sandbox)).failed == 1
            assert counts(sandbox) == {"init": run}


@pytest.mark.parametrize("name", ["TOKEN", "INSTANCE_ID"])
async def test_a_wrong_token_or_tenant_stops_the_vendor(archive: Archive, name: str) -> None:
    """401 says nothing of a row: the rest stays pending, and goes once the credentials are right."""
    for number in range(30):
        row(archive, f"{number}.pdf")
    async with started() as sandbox:
        summary = await archive.upload(
            sandbox, environment=sandbox.environment() | {f"BULKUP_LOANPRO_{name}": "wrong"}, concurrency=2
        )
        assert summary.failed <= 2
        assert summary.failed + summary.pending == 30
        assert {end.error_code for end in archive.ended().values()} == {"unauthorized"}
        assert (await archive.upload(sandbox)).completed == 30


@pytest.mark.parametrize("status", [409, 404, 400])
async def test_a_refused_update_is_done_again_alone(archive: Archive, status: int) -> None:
    """The row fails at stage update with its document's id; the next run sends only the update, as the row then is."""
    row(archive, description="first", customer_visible="yes")
    refused = Rule(kind="status", step="update", status=status, message="not now")
    async with started(refused) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        (end,) = archive.ended().values()
        assert (end.stage, end.document_id) == ("update", "89")
        assert end.error == f"HTTP {status}: not now"
        assert counts(sandbox) == {"init": 1, "put": 1, "update": 1}
        assert archive.ledger_rows()[0]["stored_at"]
        sandbox.faults = Faults()
        archive.rows[0]["description"] = "mended"
        assert (await archive.upload(sandbox)).completed == 1
        assert counts(sandbox) == {"init": 1, "put": 1, "update": 2}
        (record,) = sandbox.loanpro.documents
        assert (record.description, record.customer_visible) == ("mended", 1)
        assert archive.ledger_rows()[0]["document_id"] == "89"
        assert (await archive.upload(sandbox)).skipped == 1


@pytest.mark.parametrize("answer", ["document", "empty"])
async def test_an_updates_answer_is_not_needed(archive: Archive, answer: str) -> None:
    """Its status is enough, since the vendor does not say what it answers."""
    row(archive, archived="yes")
    async with started(update_answer=answer) as sandbox:
        assert (await archive.upload(sandbox)).completed == 1
        assert counts(sandbox) == {"init": 1, "put": 1, "update": 1}


# --- orphaned records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["loan_id", "customer_id"])
@pytest.mark.parametrize("ids", ["guide", "text", "number"])
async def test_an_expired_url_leaves_an_archived_record(archive: Archive, ids: str, owner: str) -> None:
    """A new init takes its place; the record without bytes is archived, and the ledger knows it and its fate."""
    row(archive, "a.pdf", description="kept", **{owner: "5"})
    row(archive, "b.pdf", **{owner: "5"})
    async with started(Rule(kind="expired_url", match="a.pdf", times=1), ids=ids) as sandbox:
        assert (await archive.upload(sandbox)).completed == 2
        documents = {record.id: record for record in sandbox.loanpro.documents}
        (orphan,) = (record for record in documents.values() if record.stored is None)
        assert (orphan.name, orphan.archived) == ("a.pdf", 1)
        assert [record.archived for record in documents.values() if record is not orphan] == [0, 0]
        first, second = archive.ledger_rows()
        assert documents[int(first["document_id"])].description == "kept"
        assert documents[int(second["document_id"])].name == "b.pdf"
        assert history(archive) == [(str(orphan.id), "archived")]
        assert fates(archive) == {Fate.ARCHIVED: 1}
        assert counts(sandbox) == {"init": 3, "put": 3, "update": 2}
        assert not sandbox.breaches


async def test_an_orphan_that_cannot_be_archived_is_told(archive: Archive) -> None:
    """The document is uploaded all the same; the ledger says that the record is still there."""
    row(archive)
    rules = (Rule(kind="expired_url", times=1), Rule(kind="status", step="update", status=409, message="locked"))
    async with started(*rules) as sandbox:
        assert (await archive.upload(sandbox)).completed == 1
        assert history(archive) == [("89", "left")]
        assert fates(archive) == {Fate.LEFT: 1}
        assert any("the record 89, which got no bytes, can't be put away" in text for text in archive.notices())
        assert any("locked" in text for text in archive.notices())


async def test_a_record_whose_bytes_were_refused_is_archived_by_the_next_run(archive: Archive) -> None:
    """The store's refusal fails the row; when it is sent again, the first record is put away."""
    row(archive)
    async with started(Rule(kind="status", step="put", status=403)) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        assert archive.ended()[1].error_code == "store_refused"
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).completed == 1
        assert [(r.archived, r.stored is not None) for r in sandbox.loanpro.documents] == [(1, False), (0, True)]
        assert history(archive) == [("89", "archived")]


@pytest.mark.parametrize("before", ["declared", "empty"])
@pytest.mark.parametrize("listed", [True, False])
async def test_a_record_of_a_lost_init(archive: Archive, before: str, *, listed: bool) -> None:
    """It is found in the list and archived, if the vendor lists it; the document is there once in any case."""
    row(archive)
    lost = Rule(kind="reset_after", step="init", times=1)
    async with started(lost, attachment_before=before, list_unfinished=listed, ids="text") as sandbox:
        assert (await archive.upload(sandbox, retry_for=5)).completed == 1
        first, second = sandbox.loanpro.documents
        assert (first.stored, first.archived) == (None, int(listed))
        assert second.stored is not None
        assert archive.ledger_rows()[0]["document_id"] == "90"


async def test_lost_inits_whose_records_cannot_be_archived(archive: Archive) -> None:
    """Each record is looked for once, and told and noted as left; the document is uploaded all the same."""
    row(archive)
    rules = (Rule(kind="reset_after", step="init", times=2), Rule(kind="status", step="update", status=409))
    async with started(*rules, ids="text") as sandbox:
        assert (await archive.upload(sandbox, retry_for=10)).completed == 1
        assert [(r.archived, r.stored is not None) for r in sandbox.loanpro.documents] == [
            (0, False),
            (0, False),
            (0, True),
        ]
        assert history(archive) == [("89", "left"), ("90", "left")]
        assert archive.ledger_rows()[0]["document_id"] == "91"


async def test_a_record_of_a_lost_init_is_not_another_rows(archive: Archive) -> None:
    """Same name, section and size: a record that belongs to another row, or to an earlier upload, is left alone."""
    row(archive, "one/a.pdf", b"1")
    row(archive, "two/a.pdf", b"2")
    async with started(Rule(kind="reset_after", step="init", after=1, times=1)) as sandbox:
        assert (await archive.upload(sandbox, retry_for=5, concurrency=1)).completed == 2
        held = [(r.archived, r.stored.read() if r.stored else None) for r in sandbox.loanpro.documents]
        assert sorted(held, key=repr) == [(0, b"1"), (0, b"2"), (1, None)]


@pytest.mark.parametrize(
    ("other", "archived"),
    [({"sectionId": 8}, 0), ({"size": 4}, 0), ({"fileName": "b.pdf"}, 0), ({"fileName": "a_1.pdf.pdf"}, 0), ({}, 1)],
)
async def test_somebody_elses_record_is_not_put_away(archive: Archive, other: dict[str, object], archived: int) -> None:
    """Another section, size or name in the same loan, or a record archived before, is not that of our lost init."""
    row(archive)
    async with started() as sandbox:
        await fill(sandbox, 1, **({"fileName": "a.pdf", "size": 3} | other))
        sandbox.loanpro.documents[0].archived = archived
        sandbox.faults = Faults(rules=(Rule(kind="reset_after", vendor="loanpro", step="init", times=1),))
        assert (await archive.upload(sandbox, retry_for=5)).completed == 1
        theirs, lost, ours = sandbox.loanpro.documents
        assert (theirs.archived, lost.archived, ours.archived) == (archived, 1, 0)
        assert counts(sandbox)["update"] == 1


INTERRUPTED = "state = 'initiated', stored_at = NULL, finished_at = NULL"


@pytest.mark.parametrize("options", [{}, {"file_url": False}, {"ids": "number", "attachment_before": "empty"}])
async def test_an_interrupted_transfer_that_arrived(archive: Archive, options: dict[str, Any]) -> None:
    """The record has as many bytes as were sent, and they can be read where it says: only the update is left."""
    row(archive, description="kept")
    async with started(**options) as sandbox:
        await archive.upload(sandbox)
        rewind(archive, INTERRUPTED)
        assert (await archive.upload(sandbox)).completed == 1
        assert (counts(sandbox)["init"], counts(sandbox)["put"], counts(sandbox)["update"]) == (1, 1, 2)


@pytest.mark.parametrize("before", ["declared", "empty"])
async def test_an_interrupted_transfer_that_did_not_arrive(archive: Archive, before: str) -> None:
    """It is sent again under a new record, and the old one is archived."""
    row(archive)
    async with started(attachment_before=before) as sandbox:
        await archive.upload(sandbox)
        rewind(archive, INTERRUPTED)
        (first,) = sandbox.loanpro.documents
        first.stored = None
        del sandbox.store._objects[first.key]
        assert (await archive.upload(sandbox)).completed == 1
        assert [(r.archived, r.stored is not None) for r in sandbox.loanpro.documents] == [(1, False), (0, True)]
        assert history(archive) == [("89", "archived")]


async def test_an_interrupted_transfer_that_nothing_tells_of(archive: Archive) -> None:
    """The URL of the record's file is refused: the row is unknown, and not sent again, until the vendor tells."""
    row(archive)
    async with started() as sandbox:
        await archive.upload(sandbox)
        rewind(archive, INTERRUPTED)
        sandbox.faults = Faults(rules=(Rule(kind="status", vendor="loanpro", step="download", status=403),))
        for _ in range(2):
            summary = await archive.upload(sandbox)
            assert (summary.unknown, summary.exit_code) == (1, 3)
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox)).completed == 1
        assert (counts(sandbox)["init"], counts(sandbox)["put"]) == (1, 1)


# --- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "options", "requests"),
    [
        (0, {}, 1),
        (1, {}, 2),
        (50, {}, 2),
        (51, {}, 3),
        (120, {"list_summary": True, "ids": "text"}, 4),
        (7, {"page": 2}, 5),
        (70, {"paging": False}, 2),
    ],
)
async def test_a_list_is_read_to_its_end(records: int, options: dict[str, Any], requests: int) -> None:
    """Whatever the size of a page; a list without pages is taken as it is."""
    async with started(**options) as sandbox:
        await fill(sandbox, records)
        async with client_of(adapter_of(sandbox)) as client:
            listed = await client.list_documents("loan:5")
        assert len({document.id for document in listed}) == len(listed) == records
        assert counts(sandbox).get("list") == requests


async def test_half_a_list_is_no_list() -> None:
    """A server that gives the same 50 again may have more: it is not taken for the whole."""
    async with started(paging=False) as sandbox:
        await fill(sandbox, 50)
        async with client_of(adapter_of(sandbox)) as client:
            with pytest.raises(bulkup.StepError, match="unreadable_answer"):
                await client.list_documents("loan:5")


async def fill(sandbox: Sandbox, records: int, **more: object) -> None:
    """Make records without bytes."""
    url = f"{sandbox.url}{API}/Loans(5)/document/upload"
    async with aiohttp.ClientSession(headers=adapter_of(sandbox).authorize("POST", url, b"x")) as http:
        for number in range(records):
            async with http.post(url, json={"sectionId": 7, "fileName": f"{number}.pdf"} | more) as answer:
                assert answer.status == 200


# --- the other calls ------------------------------------------------------------------------------------------------


async def test_archived_documents_are_listed_apart(archive: Archive) -> None:
    """By ``archived``, never by ``active``; each property is told by bulkup's name."""
    row(archive, "old.pdf", archived="yes", description="old", customer_visible="yes")
    row(archive, "new.pdf")
    async with started() as sandbox:
        await archive.upload(sandbox)
        async with bulkup.connect("loanpro", environment=sandbox.environment()) as client:
            (new,) = await client.list_documents("loan:5")
            (old,) = await client.list_documents("loan:5", archived=True)
            assert (new.files[0].name, old.files[0].name) == ("new.pdf", "old.pdf")
            assert old.properties == {"section_id": "7", "description": "old", "customer_visible": True}
            assert new.properties == {"section_id": "7", "description": "", "customer_visible": False}
            await client.update_document("loan:5", old.id, {"archived": False})
            await client.archive_document("loan:5", new.id)
            assert [d.id for d in await client.list_documents("loan:5")] == [old.id]


async def test_a_file_is_read_by_its_url(archive: Archive) -> None:
    """Without credentials, under the name that it was sent by."""
    row(archive, "größe 1.pdf")
    async with started() as sandbox:
        await archive.upload(sandbox)
        async with client_of(adapter_of(sandbox)) as client:
            assert await client.download_document("loan:5", "89") == [("größe 1.pdf", b"abc")]
        assert counts(sandbox) == {"init": 1, "put": 1, "get": 1, "download": 1}
        assert not sandbox.leaks


async def test_a_file_is_read_at_the_path_that_was_set(archive: Archive) -> None:
    """With credentials; without such a path the vendor has no way to give the file."""
    row(archive, "größe 1.pdf", customer_id="9")
    async with started(file_url=False) as sandbox:
        await archive.upload(sandbox)
        adapter = adapter_of(sandbox)
        async with client_of(adapter) as client:
            with pytest.raises(bulkup.StepError, match="no URL of the file"):
                await client.download_document("customer:9", "89")
        path = "/api/public/api/1/files/tenants/{entity}({id})/{file_name}"
        async with client_of(replace(adapter, download_path=path)) as client:
            assert await client.download_document("customer:9", "89") == [("größe 1.pdf", b"abc")]
        assert not sandbox.breaches


# --- settings and columns -------------------------------------------------------------------------------------------


async def test_the_path_of_an_update_is_a_setting(archive: Archive) -> None:
    """The guide leaves it blank."""
    row(archive, archived="yes")
    setting = {"BULKUP_LOANPRO_UPDATE_PATH": "/api/public/api/1/odata.svc/{entity}(id={id})"}
    async with started() as sandbox:
        async with wire(sandbox) as sent:
            assert (await archive.upload(sandbox, environment=sandbox.environment() | setting)).completed == 1
        assert sandbox.loanpro.documents[0].archived == 1
    assert f"{API}/odata.svc/LoanDocuments(id=89)" in [request.target for request in sent]


@pytest.mark.parametrize(
    "path", ["/documents/{ID}", "/documents/{}", "/documents", "documents/{id}", "/{id", "/{id.x}"]
)
async def test_a_path_that_cannot_be_filled_in(archive: Archive, path: str) -> None:
    """It is told before anything is sent."""
    row(archive, archived="yes")
    async with started() as sandbox:
        with pytest.raises(bulkup.ConfigError, match="update_path must be like /path"):
            await archive.upload(sandbox, environment=sandbox.environment() | {"BULKUP_LOANPRO_UPDATE_PATH": path})
        assert not sandbox.requests


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"section_id": "7"}, "one of loan_id and customer_id is required"),
        ({"section_id": "7", "loan_id": "5", "customer_id": "9"}, "has both loan_id and customer_id: give one"),
        ({"loan_id": "5"}, "column 'section_id': is required"),
        ({"section_id": "7", "loan_id": ".."}, "column 'loan_id': must be an id, not a path (value: '..')"),
        ({"section_id": "7", "loan_id": "5", "archived": "maybe"}, "column 'archived': must be true or false"),
        ({"section_id": "7", "loan_id": "5", "customer_visible": "2"}, "column 'customer_visible': must be true"),
        (
            {"section_id": "7", "loan_id": "5", "customfilename": "x"},
            "column 'customfilename': did you mean 'custom_file_name'?",
        ),
        ({"section_id": "7", "loan_id": "5", "file_name": "x"}, "unknown column 'file_name'"),
    ],
)
async def test_a_bad_row_sends_nothing(archive: Archive, columns: dict[str, str], complaint: str) -> None:
    """The complaint names the column, and the row if it is not that of the names; the good row is not sent either."""
    archive.add("good.pdf", provider="loanpro", section_id="7", loan_id="5")
    archive.add("bad.pdf", provider="loanpro", **columns)
    async with started() as sandbox:
        with pytest.raises(bulkup.ManifestError) as caught:
            await archive.upload(sandbox)
        (told,) = (str(each) for each in caught.value.complaints)
        assert complaint in told
        assert "row 2" in told or "unknown" in told
        assert not sandbox.requests


async def test_json_values_are_taken_as_they_are(archive: Archive) -> None:
    """Ids as numbers, flags as booleans: the same document as from a CSV cell."""
    archive.add("a.pdf", b"abc")
    values = {"provider": "loanpro", "section_id": 7, "loan_id": 5, "archived": True, "customer_visible": False}
    manifest = archive.folder / "manifest.json"
    manifest.write_text(json.dumps([{"path": "a.pdf"} | values]))
    async with started() as sandbox:
        assert (await archive.upload(sandbox, manifest, provider=None)).completed == 1
        archive.rows = [{"path": "a.pdf"} | {name: str(value).lower() for name, value in values.items()}]
        assert (await archive.upload(sandbox)).skipped == 1
        (record,) = sandbox.loanpro.documents
        assert (record.section, record.owner, record.archived, record.customer_visible) == ("7", "loan:5", 1, 0)


async def test_what_makes_another_document(archive: Archive) -> None:
    """The same file in another section, loan or customer, or under another label, is sent again; flags are not."""
    row(archive)
    for columns in (
        {"section_id": "8"},
        {"loan_id": "6"},
        {"customer_id": "5"},
        {"custom_file_name": "label"},
    ):
        row(archive, **columns)
    async with started() as sandbox:
        assert (await archive.upload(sandbox)).completed == 5
        for each in archive.rows:
            each["description"] = "later"
        assert (await archive.upload(sandbox)).skipped == 5


async def test_a_key_is_one_documents_identity(archive: Archive) -> None:
    """A key that was sent under one label can't be given to a row with another."""
    row(archive, key="K1", custom_file_name="one")
    async with started() as sandbox:
        await archive.upload(sandbox)
        archive.rows[0]["custom_file_name"] = "two"
        with pytest.raises(bulkup.ManifestError, match=r"row 1: column 'key': was sent to 'loan:5' with other options"):
            await archive.upload(sandbox)


# --- answers that can't be read -------------------------------------------------------------------------------------

SIGNED = "https://bucket.s3.amazonaws.com/a.pdf?X-Amz-Signature=secret"


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        [],
        {},
        {"d": []},
        {"d": {"uploadUrl": SIGNED}},
        {"d": {"id": "", "uploadUrl": SIGNED}},
        {"d": {"id": None, "uploadUrl": SIGNED}},
        {"d": {"id": "89"}},
        {"d": {"id": "89", "uploadUrl": None}},
        {"d": {"id": "89", "uploadUrl": "a.pdf?X-Amz-Signature=secret"}},
        {"id": "89", "uploadUrl": SIGNED},
    ],
)
async def test_an_init_without_id_or_url_counts_as_lost(answer: object) -> None:
    """What it said is not known, so the vendor is asked; no URL is shown."""
    with pytest.raises(bulkup.StepError) as caught:
        await LoanPro().init(Vendor(answer), [outgoing()])
    failure = caught.value.failure
    assert (failure.code, failure.answered, failure.sent) == ("unreadable_answer", False, True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("id_", ["89", 89])
async def test_an_id_is_text_or_a_number(id_: object) -> None:
    """Other fields of the answer are not needed, and not checked."""
    ticket = await LoanPro().init(Vendor({"d": {"id": id_, "uploadUrl": SIGNED}}), [outgoing()])
    assert ticket.remote_ids == ("89",)
    (upload,) = ticket.uploads
    assert (upload.url.value, upload.headers, upload.auth, upload.single_use) == (SIGNED, (), False, False)


def outgoing() -> Outgoing:
    """A row on its way."""
    own = LoanProColumns.model_validate({"section_id": "7", "loan_id": "5"})
    return Outgoing(Document(1, "k", 1, "loanpro", own.target, "/f", "a.pdf", own), Content(3, 1))


def test_the_adapter_shows_no_credential() -> None:
    """Neither token nor tenant."""
    adapter = LoanPro(token="tok-secret", instance_id="5200001")
    assert "tok-secret" not in repr(adapter)
    assert "5200001" not in repr(adapter)
    assert set(adapter.secrets) == {"tok-secret", "5200001"}
