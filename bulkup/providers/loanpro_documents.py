"""LoanPro's documents: listing, reading, downloading, updating, archiving; and finding what an init left."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from bulkup.errors import ConfigError, StepError
from bulkup.model import Failure
from bulkup.providers.base import Caller, Json, Trace, unreadable
from bulkup.providers.reading import mapping, moment, number, objects, recent, text, web_url
from bulkup.providers.remote import RemoteDocument, RemoteFile, ViewUrl, arranged
from bulkup.secret import SignedUrl

_API = "/api/public/api/1"
_PAGE = 50
_NO_SUCH_FILE = 404


@dataclass(frozen=True, slots=True)
class Container:
    """A loan or a customer.

    Attributes:
        path: where its documents are made.
        entity: what its documents are called where they are updated.
    """

    path: str
    entity: str

    @property
    def documents(self) -> str:
        """Where its documents are read (OData)."""
        return self.path.replace(_API, f"{_API}/odata.svc", 1) + "/Documents"


class LoanProDocuments:
    """What can be done with documents beside the upload; ``container`` is ``loan:ID`` or ``customer:ID``."""

    __slots__ = ()

    base_url: str
    update_path: str
    download_path: str
    contained: ClassVar[bool] = True

    @property
    def updatable(self) -> Mapping[str, type]:
        """See `Updater.updatable`; the keys of the guide's "Updating Documents"."""
        return {
            "archived": bool,
            "customer_visible": bool,
            "section_id": str,
            "description": str,
            "file_name": str,
        }

    async def list_documents(
        self, api: Caller, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """The documents of a loan or customer."""
        documents = [_document(item, container) for item in await self.list_all(api, container)]
        return arranged(documents, archived=archived, newest_first=newest_first)

    async def list_all(self, api: Caller, container: str) -> list[Json]:
        """All records of a loan or customer, as they come, archived ones too; page by page (OData)."""
        path = self.container(container).documents
        records: dict[str, Json] = {}
        while True:
            # "$" as it stands in the vendor's docs: it needs no encoding in a query
            answer = await api.call("GET", f"{path}?$top={_PAGE}&$start={len(records)}")
            results = mapping(answer.object().get("d")).get("results")
            if not isinstance(results, list):  # to take it for an empty list would send everything again
                raise unreadable("the answer has no list of documents")
            page = {id_: item for item in objects(results) if (id_ := text(item.get("id")))}
            if page.keys() <= records.keys():  # the end, or a server that knows no paging
                if len(results) == _PAGE == len(records):
                    raise unreadable(f"the list does not go on after {_PAGE} documents, so it may not be all")
                return list(records.values())
            records |= page

    async def get_document(self, api: Caller, container: str, document_id: str) -> RemoteDocument:
        """One document with the URL of its file."""
        listed = await self.list_all(api, container)
        item = next((item for item in listed if text(item.get("id")) == document_id), None)
        if item is None:
            raise StepError(Failure("not_found", f"{container} has no document {document_id}", answered=True))
        return _document({**item, "FileAttachment": await self._attachment(api, container, document_id)}, container)

    async def download_document(self, api: Caller, container: str, document_id: str) -> list[tuple[str, bytes]]:
        """Name and bytes of the file, by the URL that its attachment names, or at the path that was set."""
        attachment = await self._attachment(api, container, document_id)
        url = web_url(attachment.get("fileUrl"))
        if self.download_path:
            name = quote(text(attachment.get("fileName")) or "", safe="")
            url = SignedUrl(self.base_url + self._path(self.download_path, container, document_id, file_name=name))
        if url is None:
            raise StepError(Failure("not_found", "the vendor offers no URL of the file", answered=True))
        name = _file_name(attachment) or document_id
        return [(name, await api.fetch(url, auth=bool(self.download_path)))]

    async def archive_document(self, api: Caller, container: str, document_id: str) -> None:
        """Archive one document."""
        await self.change(api, container, document_id, {"archived": 1})

    async def update_document(
        self, api: Caller, container: str, document_id: str, changes: Mapping[str, str | bool]
    ) -> None:
        """See `Updater.update_document`."""
        names = {
            "archived": "archived",
            "customer_visible": "customerVisible",
            "section_id": "sectionId",
            "description": "description",
            "file_name": "fileName",
        }
        values = {names[key]: int(value) if isinstance(value, bool) else value for key, value in changes.items()}
        await self.change(api, container, document_id, values)

    async def change(self, api: Caller, container: str, document_id: str, changes: Mapping[str, object]) -> None:
        """Update a record: the changed keys, and ``id``, ``__id`` and ``__update`` (guide)."""
        id_ = numeric(document_id)
        path = self._path(self.update_path, container, document_id)
        await api.call("PUT", path, json={"id": id_, **changes, "__id": id_, "__update": True})

    async def arrived(self, api: Caller, container: str, document_id: str, size: int) -> bool | None:
        """Whether a record has its bytes: as many as were sent, and there to be read where a URL is given.

        A refusal of the question proves nothing: None. Nor does one of such a URL, whose life is not published.
        """
        try:
            attachment = await self._attachment(api, container, document_id)
        except StepError as error:
            if not error.failure.final:
                raise
            return False if error.failure.code == "not_found" else None
        if number(attachment.get("fileSize")) != size:
            return False
        url = web_url(attachment.get("fileUrl"))
        if url is None:
            return True
        try:
            return await api.measure(url) == size
        except StepError as error:
            if not error.failure.answered:
                raise
            return False if error.failure.status == _NO_SUCH_FILE else None

    async def _attachment(self, api: Caller, container: str, document_id: str) -> Json:
        path = f"{self.container(container).documents}({quote(document_id, safe='')})"
        answer = await api.call("GET", f"{path}?$select=FileAttachment&$expand=FileAttachment")
        return mapping(mapping(answer.object().get("d")).get("FileAttachment"))

    def check_paths(self) -> None:
        """See that the paths that were set can be filled in.

        Raises:
            ConfigError: one can't.
        """
        for name, more in (("update_path", {}), ("download_path", {"file_name": "f"})):
            path = getattr(self, name)
            try:
                good = not path or (path[0] == "/" and path.format(entity="e", id="1", **more) != path)
            except (AttributeError, IndexError, KeyError, ValueError):
                good = False
            if not good:
                raise ConfigError(f"loanpro: {name} must be like /path/{{entity}}({{id}})")

    def _path(self, template: str, container: str, document_id: str, **more: str) -> str:
        entity = self.container(container).entity
        return template.format(entity=entity, id=quote(document_id, safe=""), **more)

    @staticmethod
    def container(target: str) -> Container:
        """The loan or customer that ``loan:ID`` or ``customer:ID`` names.

        Raises:
            ConfigError: it names neither.
        """
        kind, _, id_ = target.partition(":")
        names = {"loan": ("Loans", "LoanDocuments"), "customer": ("Customers", "CustomerDocuments")}
        if kind not in names or not id_:
            raise ConfigError(f"{target!r}: LoanPro's documents are in a loan:ID or a customer:ID")
        owner, entity = names[kind]
        return Container(f"{_API}/{owner}({quote(id_, safe='')})", entity)


def numeric(id_: str) -> int | str:
    """An id as the guide's samples write it: a number, where it is one (and fits 64 bits, as JSON's readers do)."""
    return int(id_) if re.fullmatch(r"0|[1-9][0-9]{0,17}", id_) else id_


def candidates(listed: Sequence[Json], trace: Trace, section: str) -> Sequence[str]:
    """Ids of the records that may be that of an unanswered init; none for a trace that knows its own."""
    if trace.remote_id is not None:
        return ()
    return [id_ for item in listed if (id_ := text(item.get("id"))) and _is(item, trace, section)]


def _is(item: Json, trace: Trace, section: str) -> bool:
    """Whether a record that nobody knows the id of is that of an unanswered init."""
    size = number(item.get("size"))
    stem, dot, ending = trace.outgoing.document.filename.rpartition(".")
    renamed = rf"{re.escape(stem or ending)}_\d+{re.escape(dot + ending if stem else '')}"
    name = text(item.get("fileName")) or ""
    return (
        not number(item.get("archived"))
        and text(item.get("sectionId")) == section
        and (name == trace.outgoing.document.filename or re.fullmatch(renamed, name) is not None)
        and size in {None, 0, trace.outgoing.content.size}
        and recent(_created(item), trace.initiated_at)
    )


def _document(item: Json, container: str) -> RemoteDocument:
    attachment = mapping(item.get("FileAttachment"))
    url = web_url(attachment.get("fileUrl"))
    section, visible = text(item.get("sectionId")), number(item.get("customerVisible"))
    file = RemoteFile(
        name=_file_name(attachment) or text(item.get("fileName")) or "",
        content_type=text(attachment.get("fileMime")),
        size=number(attachment.get("fileSize")) if attachment else number(item.get("size")),
        urls=() if url is None else (ViewUrl(url, "original"),),
    )
    return RemoteDocument(
        id=text(item.get("id")) or "",
        target=container,
        archived=bool(number(item.get("archived"))),
        files=(file,),
        created_at=_created(item),
        properties={
            "section_id": section,
            "description": text(item.get("description")),
            "customer_visible": None if visible is None else bool(visible),
        },
    )


def _file_name(attachment: Json) -> str | None:
    return text(attachment.get("fileOriginalName")) or text(attachment.get("fileName"))


def _created(item: Json) -> str | None:
    """``/Date(secs)/`` as ISO 8601."""
    match = re.fullmatch(r"/Date\((\d+)\)/", text(item.get("created")) or "")
    return moment(float(match[1])) if match else None
