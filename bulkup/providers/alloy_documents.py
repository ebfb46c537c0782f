"""Alloy's documents: listing and downloading them."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import quote

from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.providers.base import Caller, Json, unreadable
from bulkup.providers.reading import mapping, moment, number, objects, text
from bulkup.providers.remote import RemoteDocument, RemoteFile, arranged
from bulkup.secret import SignedUrl


class AlloyDocuments:
    """What can be done with documents beside the upload; ``container`` is ``entity:TOKEN``, or the token."""

    __slots__ = ()

    base_url: str
    contained: ClassVar[bool] = True

    async def list_documents(
        self, api: Caller, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """The documents of an entity; Alloy archives none."""
        documents = [_document(item, container) for item in await self.list_all(api, container)]
        return arranged(documents, archived=archived, newest_first=newest_first)

    async def list_all(self, api: Caller, container: str) -> list[Json]:
        """All documents of an entity, as they come; those that wait for their bytes too. There is no paging."""
        answer = (await api.call("GET", documents_path(container))).json()
        if not isinstance(answer, list):  # to take it for an empty list would send everything again
            raise unreadable("the answer is not a list of documents")
        return objects(answer)

    async def get_document(self, api: Caller, container: str, document_id: str) -> RemoteDocument:
        """One document of the list: the API gives a single one's bytes only."""
        for item in await self.list_all(api, container):
            if text(item.get("document_token")) == document_id:
                return _document(item, container)
        raise StepError(Failure("not_found", f"{container} has no document {document_id}", answered=True))

    async def download_document(self, api: Caller, container: str, document_id: str) -> list[tuple[str, bytes]]:
        """Name and bytes of the document."""
        document = await self.get_document(api, container, document_id)
        url = SignedUrl(f"{self.base_url}{documents_path(container)}/{quote(document_id, safe='')}")
        return [(document.files[0].name, await api.fetch(url, auth=True))]


def documents_path(container: str) -> str:
    """Where an entity's documents are."""
    return f"/entities/{quote(container.removeprefix('entity:'), safe='')}/documents"


def moment_of(item: Json) -> str | None:
    """When it was described: epoch milliseconds, as ISO 8601."""
    timestamp = number(item.get("timestamp"))
    return None if timestamp is None else moment(timestamp / 1000)


def _document(item: Json, container: str) -> RemoteDocument:
    name, extension = text(item.get("name")) or "", text(item.get("extension"))
    uploaded = item.get("uploaded")
    return RemoteDocument(
        id=text(item.get("document_token")) or "",
        target=container,
        type=text(item.get("type")),
        status="uploaded" if uploaded is True else "described",
        files=(RemoteFile(f"{name}.{extension}" if extension else name),),
        created_at=moment_of(item),
        properties={
            "approved": item.get("approved"),
            "approval_agent_email": text(item.get("approval_agent_email")),
            "notes": [dict(mapping(note)) for note in objects(item.get("notes"))],
        },
    )
