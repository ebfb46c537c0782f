"""The LoanPro stand-in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, NoReturn

import orjson
from aiohttp import web

from bulkup.sandbox.loanpro.options import LoanProOptions
from bulkup.sandbox.loanpro.records import Record
from bulkup.sandbox.objectstore.bucket import Bucket
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, body_subject, json_answer
from bulkup.sandbox.vendor import Vendor, VendorOptions

_API: Final = "/loanpro/api/public/api/1"
_OWNERS: Final = {"Loans": "loan", "Customers": "customer", "LoanDocuments": "loan", "CustomerDocuments": "customer"}
_UPDATABLE: Final = {"archived", "customerVisible", "sectionId", "description", "fileName"}
_PAGE: Final = 50


class LoanPro(Vendor):
    """LoanPro's documents of loans and customers, under ``/loanpro``."""

    name: ClassVar[str] = "loanpro"
    options_type: ClassVar[type[VendorOptions]] = LoanProOptions

    def __init__(self, stage: Stage, options: VendorOptions) -> None:
        assert isinstance(options, LoanProOptions)  # noqa: S101 # the sandbox picks by `options_type`
        self.options = options
        self._stage = stage
        self.token = f"lp-{hashlib.sha256(f'loanpro {stage.seed}'.encode()).hexdigest()[:40]}"
        self.instance_id = "5200001"
        self.bucket = Bucket(stage, "loanpro", "s3", self._landed, self._subject)
        self.records: dict[str, Record] = {}
        self._by_key: dict[str, Record] = {}

    @property
    def documents(self) -> list[Record]:
        """All records, oldest first, with bytes or without, archived or not."""
        return list(self.records.values())

    def steps(self) -> Iterable[Step]:
        """Init, update, list, get, and the bucket's PUT and GET."""
        owner = "{owner:Loans|Customers}({id})"
        init = f"{_API}/{owner}/document/upload"
        entity = f"{_API}/odata.svc/{{owner:LoanDocuments|CustomerDocuments}}({{document}})"
        yield Step("init", "POST", init, self._init, self._error, body_subject)
        yield Step("update", "PUT", entity, self._update, self._error, body_subject)
        yield Step("list", "GET", f"{_API}/odata.svc/{owner}/Documents", self._list, self._error)
        yield Step("get", "GET", f"{_API}/odata.svc/{owner}/Documents({{document}})", self._get, self._error)
        yield from self.bucket.steps()

    def environment(self) -> Mapping[str, str]:
        """Base URL, token and tenant."""
        return {
            "BULKUP_LOANPRO_BASE_URL": f"{self._stage.url}/loanpro",
            "BULKUP_LOANPRO_TOKEN": self.token,
            "BULKUP_LOANPRO_INSTANCE_ID": self.instance_id,
        }

    async def state(self) -> Mapping[str, object]:
        """All records, with the hash of what came."""
        return {
            "documents": [
                {
                    "id": str(record.id),
                    "owner": record.owner,
                    "section": record.section,
                    "name": record.name,
                    "customName": record.custom_name,
                    "archived": record.archived,
                    "customerVisible": record.customer_visible,
                    "description": record.description,
                    "size": record.stored.size if record.stored else None,
                    "sha256": record.stored.sha256.hex() if record.stored else None,
                }
                for record in self.records.values()
            ]
        }

    async def _init(self, request: web.Request) -> web.StreamResponse:
        owner = self._owner(request)
        body = await _json(request)
        name, section, size = body.get("fileName"), body.get("sectionId"), body.get("size")
        if extra := sorted(body.keys() - {"sectionId", "fileName", "customFileName", "size"}):
            _conflict(f"unknown fields: {', '.join(extra)}")
        if not isinstance(name, str) or not name:
            _conflict("fileName is required")
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            _conflict("size must be a number of bytes")
        label = body.get("customFileName")
        if label is not None and not isinstance(label, str):
            _conflict("customFileName must be text")
        number = len(self.records) + 89
        stem, dot, ending = name.rpartition(".")
        created = int(self._stage.clock())
        system = f"{stem or ending}_{created}{dot + ending if stem else ''}"
        record = Record(number, owner, self._section(section), name, system, label, size, created)
        self.records[str(number)] = self._by_key[record.key] = record
        url = self.bucket.sign_put(record.key, "", self.options.url_life).url
        answer = {
            "id": str(number),
            "fileName": system,
            "uploadUrl": url,
            "customFileName": label or name,
            "mime": record.mime,
        }
        return json_answer({"d": answer})

    async def _update(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        record = self._record(request.match_info["document"].removeprefix("id="))
        if not record.owner.startswith(_OWNERS[request.match_info["owner"]]):
            _conflict(f"document {record.id} is not one of {request.match_info['owner']}", breach=False)
        body = await _json(request)
        if body.get("__update") is not True or str(body.get("__id")) != str(record.id):
            _conflict("__update and __id are required")
        if str(body.get("id")) != str(record.id):
            _conflict("id is required")
        if extra := sorted(body.keys() - _UPDATABLE - {"id", "__id", "__update"}):
            _conflict(f"can't update {', '.join(extra)}")
        for name in ("archived", "customerVisible"):
            if name in body and (isinstance(body[name], bool) or body[name] not in (0, 1)):
                _conflict(f"{name} must be 0 or 1")
        section = self._section(body["sectionId"]) if "sectionId" in body else record.section
        record.section = section
        record.archived = int(str(body.get("archived", record.archived)))
        record.customer_visible = int(str(body.get("customerVisible", record.customer_visible)))
        record.description = str(body.get("description", record.description))
        record.name = str(body.get("fileName", record.name))
        return json_answer({"d": record.render()})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        owner = self._owner(request)
        try:
            top, start = int(request.query.get("$top", _PAGE)), int(request.query.get("$start", 0))
        except ValueError:
            _conflict("$top and $start must be numbers")
        listed = [
            record
            for record in self.records.values()
            if record.owner == owner and (record.stored or self.options.list_unfinished)
        ]
        page = [record.render() for record in listed[start : start + top]]
        return json_answer({"d": {"results": page, "summary": {"start": start, "pageSize": top, "total": len(listed)}}})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        owner = self._owner(request)
        record = self._record(request.match_info["document"])
        if record.owner != owner:
            _conflict(f"there is no document {record.id} of {owner}", breach=False)
        size = record.stored.size if record.stored else None
        url: str | None = self.bucket.sign_get(record.key, self.options.url_life).url
        if record.stored is None:
            empty = self.options.attachment_before == "empty"
            size, url = (None, None) if empty else (record.declared, url)
        summary = {"start": 0, "pageSize": _PAGE, "total": 0}
        return json_answer({"d": {"FileAttachment": record.attachment(size, url), "summary": summary}})

    def _landed(self, key: str) -> None:
        record, stored = self._by_key[key], self._stage.store[key]
        if self.options.check_size and record.declared not in (None, stored.size):
            self._stage.record.breach("loanpro", "put", f"{stored.size} bytes came, {record.declared} were declared")
            return
        record.stored = stored

    def _subject(self, key: str) -> str:
        record = self._by_key.get(key)
        return f"{record.owner}\n{record.name}" if record else ""

    def _check(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "the token is not valid")
        if request.headers.get("Autopal-Instance-Id") != self.instance_id:
            raise RefusedError(401, "the tenant is not valid")
        if request.method != "GET" and request.content_type != "application/json":
            raise RefusedError(409, "Content-Type must be application/json")

    def _owner(self, request: web.Request) -> str:
        self._check(request)
        owner = f"{_OWNERS[request.match_info['owner']]}:{request.match_info['id']}"
        if self.options.owners is not None and owner not in self.options.owners:
            _conflict(f"there is no {owner}", breach=False)
        return owner

    def _section(self, section: object) -> str:
        if isinstance(section, bool) or not isinstance(section, str | int) or section == "":
            _conflict("sectionId is required")
        if self.options.sections is not None and str(section) not in self.options.sections:
            _conflict(f"there is no section {section}", breach=False)
        return str(section)

    def _record(self, name: str) -> Record:
        record = self.records.get(name)
        if record is None:
            _conflict(f"there is no document {name}", breach=False)
        return record

    def _error(self, status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:  # noqa: ARG002
        words = message or "the request can't be handled"
        error: Mapping[str, object] = {"error": {"message": {"value": words}}}
        if self.options.error_form == "message":
            error = {"error": {"message": words}}
        elif self.options.error_form == "d":
            error = {"d": error}
        return json_answer(error, status)


async def _json(request: web.Request) -> dict[str, object]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        _conflict("the body is not valid JSON")
    if not isinstance(body, dict):
        _conflict("the body must be a JSON object")
    return body


def _conflict(words: str, *, breach: bool = True) -> NoReturn:
    """LoanPro answers most errors with 409."""
    raise RefusedError(409, words, breach=breach)
