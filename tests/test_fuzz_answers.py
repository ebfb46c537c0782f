"""Whatever a vendor answers: an adapter gives receipts or a `StepError` of one line, and nothing else leaves it."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.answers import judge_api, judge_store
from bulkup.errors import StepError
from bulkup.model import Columns, Content, Document, Failure, Receipt, Reply, Ticket
from bulkup.providers import PROVIDERS
from bulkup.providers.alloy import Alloy
from bulkup.providers.auco import Auco
from bulkup.providers.base import (
    Adapter,
    Answer,
    Archiver,
    Downloader,
    Explainer,
    Finder,
    Found,
    Getter,
    Job,
    Json,
    Lister,
    Outgoing,
    Renewable,
    Requirements,
    Trace,
    Updater,
    UrlRefresher,
)
from bulkup.providers.kompliant import Kompliant
from bulkup.providers.lightreach import LightReach, LightReachV1
from bulkup.providers.loanpro import LoanPro
from bulkup.secret import SignedUrl
from tests.vendors import CASES

SIGNED = "https://store.example/key?X-Amz-Signature=S3CRETS3CRET"
MD5, SHA256 = "0" * 32, "1" * 64
ADAPTERS: Mapping[str, Adapter] = {
    "lightreach": LightReach(username="u", password="p4ssw0rd"),
    "lightreach-v1": LightReachV1(LightReach(token="t0ken")),
    "loanpro": LoanPro(token="t0ken", instance_id="1"),
    "loanpro-updated": LoanPro(token="t0ken", instance_id="1"),
    "alloy": Alloy(token="t0ken", secret="s3cret", auth="bearer"),
    "kompliant": Kompliant(api_key="k", secret_key="c2VjcmV0", auth_token="t0ken"),
    "kompliant-linked": Kompliant(api_key="k", secret_key="c2VjcmV0", auth_token="t0ken"),
    "auco": Auco(private_key="prk", public_key="puk"),
    "auco-url": Auco(private_key="prk", public_key="puk"),
}
_FILE = {
    "originalName": "0.pdf",
    "contentType": "application/pdf",
    "md5Hash": MD5,
    "sizeKB": 1,
    "viewUrls": [{"url": SIGNED, "type": "original", "expiresAt": "2030-01-01T00:00:00Z"}],
}
_DOCUMENT = {"id": "d1", "accountId": "A-0", "type": "utilityBill", "status": "ok", "archived": False, "files": [_FILE]}
_ALLOY = {
    "document_token": "D-1",
    "name": "0",
    "extension": "pdf",
    "type": "contract",
    "uploaded": True,
    "timestamp": 1,
    "notes": [{"note": "n"}],
    "access_token": "a",
    "expires_in": 3600,
    "expires": 1,
}
_ATTACHMENT = {"fileUrl": SIGNED, "fileSize": 1000, "fileOriginalName": "0.pdf", "fileMime": "application/pdf"}
_LOANPRO = {
    "id": 7,
    "uploadUrl": SIGNED,
    "fileName": "0.pdf",
    "size": 1000,
    "sectionId": 7,
    "created": "/Date(1)/",
    "archived": 0,
    "customerVisible": 1,
    "FileAttachment": _ATTACHMENT,
}
_KOMPLIANT = {
    "document_id": "d1",
    "upload_url": SIGNED,
    "presign_values": {"Content-Type": "application/pdf", "key": "k", "policy": "p"},
    "upload_status": "UPLOADED",
    "hash": SHA256,
    "file_size": 1000,
    "file_name": "0.pdf",
    "created_at": "2030-01-01T00:00:00Z",
    "deleted_at": None,
}
_REQUIRED = {"required_document_id": "rd", "document_type_code": "PROOF_OF_ADDRESS", "document_id": "d1"}
RIGHT: Mapping[str, tuple[Any, ...]] = {
    "lightreach": (
        {"jobId": "j", "files": [{"uploadUrl": SIGNED, "contentType": "a/b", "expiresAt": "2030-01-01T00:00:00Z"}]},
        {"type": "complete", "documents": [_DOCUMENT]},
        {"type": "failed", "error": "bad"},
        [_DOCUMENT],
        {"access_token": "a", "expires_in": 3600},
    ),
    "loanpro": ({"d": _LOANPRO}, {"d": {"results": [_LOANPRO]}}, {"error": {"message": {"value": "bad"}}}),
    "alloy": (_ALLOY, [_ALLOY], {"error": {"minor_code": 4012, "type": "t", "details": [{"path": "p"}]}}),
    "kompliant": (
        _KOMPLIANT,
        {"meta": {"status": "SUCCESS", "trace_id": "t"}, "data": {"document": _KOMPLIANT, "documents": [_KOMPLIANT]}},
        {"data": {"results": [{"request": _REQUIRED, "status": "SUCCESS"}], "required_documents": [_REQUIRED]}},
        {"meta": {"status": "ERROR"}, "errors": [{"code": "ENTITY_NOT_FOUND", "message": "m"}]},
    ),
    "auco": (
        {"code": "C1", "document": "C1", "url": SIGNED, "status": "FINISH", "name": "n", "signProfile": [{}]},
        {"package": "P1"},
    ),
}
HOSTILE: list[object] = [
    None, True, False, 0, -1, 2**63, 1e308, 1.5, "", "1", "9" * 400, "9" * 5000, "x" * 100_000, "\0", "a\nb\r\nX: y",
    "\u202egnp.exe", "\x1b[2J", "../../etc/passwd", "NaN", "Infinity", "-1", "0001-01-01T00:00:00+14:00", "\u0663",
    "file:///etc/passwd", "https://user:pass@host/", "https://[::1", "https://h/a\r\nX: y", "https://h\x0b/", "//h",
    "https://h\u00e9/\u2028", MD5.upper(), SHA256.upper(), "AAAAAAAAAAAAAAAAAAAAAA==", [], {}, [[]], [{}], {"": {}},
    SIGNED, "/Date(" + "9" * 400 + ")/",
]  # fmt: skip
DEEP = "@deep"
"""Stands for a value nested as deep as the parser takes it; the generators would not."""
VALUES = st.one_of(
    st.sampled_from([*HOSTILE, DEEP]),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all nodes of a JSON value, its own first."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, each in inside for place in places(each, (*path, name)))]


@st.composite
def answers(draw: st.DrawFn, vendor: str) -> object:
    """A right answer of a vendor with some of its nodes replaced, removed or repeated; or any JSON."""
    value = copy.deepcopy(draw(st.sampled_from(RIGHT[vendor])))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from(places(value))) or (None,)
        if last is None:
            return copy.deepcopy(draw(VALUES))
        holder = value
        for name in path:
            holder = holder[name]
        match draw(st.sampled_from(["replace", "replace", "remove", "repeat"])):
            case "replace":
                holder[last] = copy.deepcopy(draw(VALUES))
            case "remove":
                del holder[last]
            case _ if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
    return value


class Scripted:
    """A `Caller` that gives the answers it was told, then always the last."""

    def __init__(self, script: list[bytes]) -> None:
        self.script = script
        self.asked = 0

    def _next(self) -> bytes:
        self.asked += 1
        if self.asked > 500:
            raise AssertionError("an adapter asks without end")
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """The next answer."""
        assert path.startswith("/")
        assert path.isprintable()
        assert method in {"GET", "POST", "PUT", "DELETE"}, (json, params, repeatable)
        return Answer(200, {"date": "Mon, 01 Jan 2029 00:00:00 GMT"}, self._next())

    async def follow(self, job: Job) -> Json:
        """The next answer, if it ends the job."""
        event = Answer(200, {}, self._next()).object()
        if not job.ended(event):
            raise StepError(Failure("job_timeout", "not ended"))
        return event

    async def fetch(self, url: SignedUrl, *, auth: bool) -> bytes:
        """Nothing."""
        assert isinstance(url.value, str)
        assert auth in {True, False}
        return b""

    async def measure(self, url: SignedUrl) -> int | None:
        """The right size."""
        assert isinstance(url.value, str)
        return 1000


def told(failure: Failure) -> None:
    """What a failure says is one line, of bounded length, and shows nothing secret."""
    assert failure.text.isprintable()
    assert len(failure.text) <= 1100
    for secret in ("S3CRETS3CRET", "p4ssw0rd", "t0ken"):
        assert secret not in failure.text


def right(receipt: Receipt | Found | None) -> None:
    """A receipt that a ledger can hold."""
    if isinstance(receipt, Found):
        assert receipt.remote_id.isprintable()
    elif receipt is not None:
        assert receipt.document_id is None or (receipt.document_id and receipt.document_id.isprintable())
        if receipt.failure is not None:
            told(receipt.failure)


def outgoing(case_id: str) -> Outgoing:
    """A document of a case on its way."""
    case = next(case for case in CASES if case.id == case_id)
    columns: Columns = PROVIDERS[case.provider].columns.model_validate(case.columns(0))
    document = Document(
        id=1, key="k", number=1, provider=case.provider, target=columns.target, path="/0.pdf", filename="0.pdf",
        columns=columns,
    )  # fmt: skip
    return Outgoing(document, Content(1000, 1, MD5, SHA256))


async def _upload(adapter: Adapter, api: Scripted, sent: Outgoing, reply: bytes) -> None:
    ticket = await adapter.init(api, [sent])
    assert ticket.job_id is None or ticket.job_id.isprintable()
    assert all(id_ is None or id_.isprintable() for id_ in ticket.remote_ids)
    for receipt in await adapter.finish(api, [sent], ticket, {0: Reply(200, reply)}):
        right(receipt)


async def _finish(adapter: Adapter, api: Scripted, sent: Outgoing, reply: bytes) -> None:
    for receipt in await adapter.finish(api, [sent], Ticket("j", ("d1",), ()), {0: Reply(200, reply)}):
        right(receipt)


async def _find(adapter: Adapter, api: Scripted, sent: Outgoing, _: bytes) -> None:
    assert isinstance(adapter, Finder)
    for remote_id in (None, "d1"):
        for found in await adapter.find(api, [Trace(sent, "2026-01-01T00:00:00+00:00", remote_id)], frozenset()):
            right(found)


async def _log_in(adapter: Adapter, api: Scripted, _: Outgoing, __: bytes) -> None:
    if isinstance(adapter, Renewable):
        renewed = adapter.logged_in((await api.call("POST", "/login", json={})).object(), 1e9)
        assert all(value.isprintable() for value in renewed.authorize("GET", "/", b"").values())


async def _documents(adapter: Adapter, api: Scripted, sent: Outgoing, _: bytes) -> None:
    target = sent.document.target
    calls: list[Any] = []
    if isinstance(adapter, Lister):
        calls += [adapter.list_documents(api, target), adapter.list_documents(api, target, archived=True)]
    if isinstance(adapter, Getter):
        calls.append(adapter.get_document(api, target, "d1"))
    if isinstance(adapter, Downloader):
        calls.append(adapter.download_document(api, target, "d1"))
    if isinstance(adapter, Archiver):
        calls.append(adapter.archive_document(api, target, "d1"))
    if isinstance(adapter, Updater):
        calls.append(adapter.update_document(api, target, "d1", {"description": "x"}))
    if isinstance(adapter, UrlRefresher):
        calls.append(adapter.refresh_urls(api, target, "d1"))
    if isinstance(adapter, Requirements):
        calls += [adapter.list_required(api, "w"), adapter.list_fulfillments(api, "rd")]
        calls.append(adapter.link_document(api, "w", ["rd", "rd2"], "d1"))
    for call in calls:
        await _caught(call)


async def _caught(call: Any) -> None:
    try:
        await call
    except StepError as error:
        told(error.failure)


STEPS: tuple[Callable[[Adapter, Scripted, Outgoing, bytes], Any], ...] = (_upload, _finish, _find, _log_in, _documents)


def _dumped(value: object) -> bytes:
    deep = '{"data":' * 990 + "1" + "}" * 990
    return json.dumps(value).replace(json.dumps(DEEP), deep).encode()


@pytest.mark.parametrize("case_id", ADAPTERS)
@given(data=st.data())
def test_any_answer_is_receipts_or_one_line(case_id: str, data: st.DataObject) -> None:
    """Whatever JSON or bytes the calls of an upload, a look-up, a login or `bulkup documents` are answered with."""
    kinds = answers(case_id.partition("-")[0]).map(_dumped) | st.binary(max_size=30)
    script, step = data.draw(st.lists(kinds, min_size=1, max_size=4)), data.draw(st.sampled_from(STEPS))
    asyncio.run(_caught(step(ADAPTERS[case_id], Scripted(script), outgoing(case_id), script[0])))


DATES = st.sampled_from(["-1", "1e400", "x", " ", "Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359"])
HEADERS = st.fixed_dictionaries(
    {}, optional={"retry-after": DATES | st.text(), "alloy-ratelimit-reset": DATES | st.text(), "date": DATES}
)


@pytest.mark.parametrize("case_id", ADAPTERS)
@given(status=st.integers(100, 599), headers=HEADERS, data=st.data())
def test_any_refusal_is_one_line(case_id: str, status: int, headers: dict[str, str], data: st.DataObject) -> None:
    """Whatever status, headers and body: a verdict of one line without secrets, and no wait below zero."""
    adapter = ADAPTERS[case_id]
    body = data.draw(answers(case_id.partition("-")[0]).map(_dumped) | st.binary())
    explain = adapter.explain if isinstance(adapter, Explainer) else None
    failures = judge_api(status, headers, body, adapter.secrets, explain), judge_store(status, headers, body)
    for failure in failures:
        assert (failure is None) == (200 <= status < 300)
        if failure is not None:
            told(failure)
            assert failure.retry_after is None or failure.retry_after >= 0


DIGITS, FAR = "9" * 5000, "9" * 400
SHRUNK: list[tuple[str, Callable[..., Any], object]] = [
    ("lightreach", _finish, {"type": "failed", "error": DEEP}),
    ("lightreach", _upload, {"jobId": "j", "files": [{"uploadUrl": "u", "contentType": "c", "expiresAt": DEEP}]}),
    ("lightreach", _finish, {"type": "complete", "documents": [{"id": ""}]}),
    ("lightreach", _log_in, {"access_token": "a\r\nX: y"}),
    ("alloy", _log_in, {"access_token": "a\r\nX: y"}),
    ("alloy", _log_in, {"bearer_token": "a", "expires": FAR}),
    ("alloy", _documents, [{"document_token": "d1", "timestamp": FAR}]),
    ("alloy", _documents, [{"document_token": "d1", "timestamp": DIGITS}]),
    ("loanpro", _documents, {"d": {"results": [{"id": 1, "archived": DIGITS}]}}),
    ("kompliant-linked", _documents, {"data": [{"data": DEEP}]}),
    ("auco", _upload, {"package": "a\nb"}),
    ("auco", _finish, {"code": "\0"}),
]


@pytest.mark.parametrize(("case_id", "step", "answer"), SHRUNK)
async def test_what_broke_once(case_id: str, step: Callable[..., Any], answer: object) -> None:
    """Answers that were once followed by a traceback, a message of two lines or an id that nobody can print."""
    body = _dumped(answer)
    await _caught(step(ADAPTERS[case_id], Scripted([body]), outgoing(case_id), body))


def test_a_long_number_is_no_number() -> None:
    """More digits than 64 bits hold count as not said, in an error's code too."""
    body = _dumped({"error": {"minor_code": DIGITS, "message": "m"}})
    failure = judge_api(400, {}, body, (), Alloy().explain)
    assert failure is not None
    assert failure.code == "rejected"
