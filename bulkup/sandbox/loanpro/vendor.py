"""The LoanPro stand-in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from aiohttp import web
from anyio import to_thread

from bulkup.sandbox.loanpro.bodies import announcement, changes, conflict, numeric
from bulkup.sandbox.loanpro.options import LoanProOptions
from bulkup.sandbox.loanpro.records import Record
from bulkup.sandbox.objectstore.bucket import Bucket
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, body_subject, json_answer, unknown
from bulkup.sandbox.vendor import Vendor, VendorOptions

_API: Final = "/loanpro/api/public/api/1"
_ODATA: Final = f"{_API}/odata.svc"
_OWNERS: Final = {"Loans": "loan", "Customers": "customer"}
_PAGE: Final = 50
_ATTACHMENT: Final = {"$select": "FileAttachment", "$expand": "FileAttachment"}


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
        """Init, update, list, get, the file at the API, and the bucket's PUT and GET."""
        owner, entity = "{owner:Loans|Customers}({id})", "{entity:LoanDocuments|CustomerDocuments}({document})"
        documents = f"{_ODATA}/{owner}/Documents"
        yield Step("init", "POST", f"{_API}/{owner}/document/upload", self._init, self._error, body_subject)
        yield Step("update", "PUT", f"{_ODATA}/{entity}", self._update, self._error, body_subject)
        yield Step("list", "GET", documents, self._list, self._error)
        yield Step("get", "GET", f"{documents}({{document}})", self._get, self._error)
        yield Step("file", "GET", f"{_API}/files/{{folder}}/{entity}/{{name}}", self._file, self._error)
        yield from self.bucket.steps()

    def unknown(self) -> Step:
        """404 is for paths that there are not; all else is 409."""
        return unknown(self.name, error=self._error)

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
        said = announcement(await request.read())
        self._known_section(said.section)
        number = len(self.records) + 89
        stem, dot, ending = said.name.rpartition(".")
        created = int(self._stage.clock())
        system = f"{stem or ending}_{created}{dot + ending if stem else ''}"
        record = Record(number, owner, said.section, said.name, system, said.label, said.size, created)
        self.records[str(number)] = self._by_key[record.key] = record
        answer = {
            "id": number if self.options.ids == "number" else str(number),
            "fileName": system,
            "uploadUrl": self.bucket.sign_put(record.key, "", self.options.url_life).url,
            "customFileName": said.label or said.name,
            "mime": record.mime,
        }
        return json_answer({"d": answer})

    async def _update(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        record = self._record(request)
        if record.entity != request.match_info["entity"]:
            conflict(f"document {record.id} is not one of {request.match_info['entity']}", breach=False)
        changed = changes(await request.read(), record.id)
        section = str(changed.get("sectionId", record.section))
        self._known_section(section)
        record.section = section
        record.archived = int(changed.get("archived", record.archived))
        record.customer_visible = int(changed.get("customerVisible", record.customer_visible))
        record.description = str(changed.get("description", record.description))
        record.name = str(changed.get("fileName", record.name))
        if self.options.update_answer == "empty":
            return web.Response()
        return json_answer({"d": record.render(self._root, self.options)})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        owner = self._owner(request)
        if extra := sorted(request.query.keys() - {"$top", "$start"}):
            conflict(f"unknown parameters: {', '.join(extra)}")
        top, start = (
            int(numeric(name, request.query.get(name, default))) for name, default in (("$top", _PAGE), ("$start", 0))
        )
        listed = [
            record
            for record in self.records.values()
            if record.owner == owner and (record.stored or self.options.list_unfinished)
        ]
        page = listed[start : start + min(top, self.options.page)] if self.options.paging else listed
        answer: dict[str, object] = {"results": [record.render(self._root, self.options) for record in page]}
        if self.options.list_summary:
            answer["summary"] = {"start": start, "pageSize": top, "total": len(listed)}
        return json_answer({"d": answer})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        owner = self._owner(request)
        record = self._record(request)
        if record.owner != owner:
            conflict(f"there is no document {record.id} of {owner}", breach=False)
        if dict(request.query) != _ATTACHMENT:
            conflict("$select and $expand must be FileAttachment")
        size, url = record.size(self.options), None
        if size is not None and self.options.file_url:
            url = self.bucket.sign_get(record.key, self.options.url_life).url
        attachment = record.attachment(self._root, size, url)
        return json_answer(
            {"d": {"FileAttachment": attachment, "summary": {"start": 0, "pageSize": _PAGE, "total": 0}}}
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        record = self._record(request)
        if (record.entity, record.system_name) != (request.match_info["entity"], request.match_info["name"]):
            conflict(f"document {record.id} has no such file", breach=False)
        if record.stored is None:
            conflict(f"document {record.id} has no file yet", breach=False)
        return web.Response(body=await to_thread.run_sync(record.stored.read), content_type=record.mime)

    def _landed(self, key: str) -> None:
        record, stored = self._by_key[key], self._stage.store[key]
        if self.options.check_size and record.declared not in (None, stored.size):
            self._stage.record.breach("loanpro", "put", f"{stored.size} bytes came, {record.declared} were declared")
            return
        if not self._stage.dice.outcome("job_never", "loanpro", self._subject(key)):
            record.stored = stored

    def _subject(self, key: str) -> str:
        record = self._by_key.get(key)
        return f"{record.owner}\n{record.name}" if record else ""

    @property
    def _root(self) -> str:
        return f"{self._stage.url}{_ODATA}"

    def _check(self, request: web.Request) -> None:
        """The three headers of every call, and no body where none is said to be."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "the token is not valid")
        if request.headers.get("Autopal-Instance-Id") != self.instance_id:
            raise RefusedError(401, "the tenant is not valid")
        if request.content_type != "application/json":
            conflict("Content-Type must be application/json")
        if request.method == "GET" and request.can_read_body:
            conflict("a GET has no body")

    def _owner(self, request: web.Request) -> str:
        self._check(request)
        kind = _OWNERS[request.match_info["owner"]]
        owner = f"{kind}:{numeric(f'the {kind} id', request.match_info['id'])}"
        if self.options.owners is not None and owner not in self.options.owners:
            conflict(f"there is no {owner}", breach=False)
        return owner

    def _known_section(self, section: str) -> None:
        if self.options.sections is not None and section not in self.options.sections:
            conflict(f"there is no section {section}", breach=False)

    def _record(self, request: web.Request) -> Record:
        """The record that the path names, as ``(89)`` or ``(id=89)``."""
        id_ = numeric("the document's id", request.match_info["document"].removeprefix("id="))
        record = self.records.get(id_)
        if record is None:
            conflict(f"there is no document {id_}", breach=False)
        return record

    def _error(self, status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:  # noqa: ARG002
        words = message or "the request can't be handled"
        form = self.options.error_form
        if form == "text":
            return web.Response(text=words, status=status)
        error: Mapping[str, object] = {"error": {"message": words if form == "message" else {"value": words}}}
        if form == "d":
            error = {"d": error}
        elif form == "full":
            said = {"type": "Sandbox.Refusal", "message": {"value": words}}
            error = {"error": said, "warnings": ["nothing was changed"]}
        return json_answer(error, status)
