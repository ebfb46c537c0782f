"""Kompliant's documents and what they fulfil: listing, reading, linking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.providers.base import Caller, Json, unreadable
from bulkup.providers.kompliant_envelope import data, digest, refusal
from bulkup.providers.reading import mapping, number, objects, text
from bulkup.providers.remote import RemoteDocument, RemoteFile, arranged


class KompliantDocuments:
    """What can be done with documents beside the upload; ``container`` is ``subject:ID``, or the id.

    The vendor counts a document that is deleted as archived here.
    """

    __slots__ = ()

    contained: ClassVar[bool] = False

    async def list_documents(
        self, api: Caller, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """The documents of a subject record."""
        documents = [_document(item) for item in await self.list_all(api, container)]
        return arranged(documents, archived=archived, newest_first=newest_first)

    async def list_all(self, api: Caller, container: str) -> list[Json]:
        """All documents of a subject record, as they come; there is no paging."""
        json = {"subject_record_id": subject(container)}
        documents = data(await api.call("POST", "/document.list", json=json, repeatable=True)).get("documents")
        if not isinstance(documents, list):  # to take it for an empty list would send everything again
            raise unreadable("the answer has no list of documents")
        return objects(documents)

    async def get_document(self, api: Caller, container: str, document_id: str) -> RemoteDocument:  # noqa: ARG002
        """One document; its id is enough."""
        json = {"document_id": document_id}
        answer = data(await api.call("POST", "/document.get", json=json, repeatable=True))
        return _document(mapping(answer.get("document")))

    async def list_required(self, api: Caller, workflow_id: str) -> list[Json]:
        """See `Requirements.list_required`."""
        json = {"workflow_id": workflow_id}
        answer = await api.call("POST", "/workflow.requiredDocument.list", json=json, repeatable=True)
        return objects(data(answer).get("required_documents"))

    async def required_by_code(self, api: Caller, workflow_id: str, code: str) -> str:
        """The id of the one required document with a type code.

        Raises:
            StepError: the workflow has none, or several.
        """
        listed = await self.list_required(api, workflow_id)
        fitting = [item for item in listed if text(item.get("document_type_code")) == code]
        ids = [text(item.get("required_document_id")) for item in fitting]
        match ids:
            case [str() as id_]:
                return id_
            case []:
                known = ", ".join(sorted({text(item.get("document_type_code")) or "" for item in listed}))
                words = f"workflow {workflow_id} requires no document of type {code!r}; it requires: {known or 'none'}"
            case _:
                words = f"workflow {workflow_id} requires {len(ids)} documents of type {code!r}: name them by their ids"
        raise StepError(Failure("no_requirement", words, answered=True))

    async def list_fulfillments(
        self, api: Caller, required_id: str, *, decision_status: str | None = None, upload_status: str | None = None
    ) -> list[Json]:
        """See `Requirements.list_fulfillments`."""
        given = {"decision_status": decision_status, "document_upload_status": upload_status}
        filters = {name: value for name, value in given.items() if value is not None}
        json = {"required_document_id": required_id} | ({"filters": filters} if filters else {})
        answer = await api.call("POST", "/workflow.requiredDocument.fulfillment.list", json=json, repeatable=True)
        return objects(data(answer).get("fulfillments"))

    async def unlinked(self, api: Caller, required_ids: Sequence[str], document_id: str) -> list[str]:
        """Those of the required documents that a document does not fulfil yet."""
        missing = []
        for id_ in required_ids:
            fulfilled = await self.list_fulfillments(api, id_)
            if all(text(item.get("document_id")) != document_id for item in fulfilled):
                missing.append(id_)
        return missing

    async def link_document(self, api: Caller, workflow_id: str, required_ids: Sequence[str], document_id: str) -> None:
        """Let one document fulfil several required ones, in one ``batchAdd``.

        The answer is examined item by item, in both forms that are known. A call that failed, or does not mention an
        item, may have linked it all the same: the list of fulfillments tells.

        Raises:
            StepError: ``link_failed`` names the items that were refused, and why.
        """
        if not required_ids:
            return
        items = [{"required_document_id": id_, "document_id": document_id} for id_ in required_ids]
        json = {"workflow_id": workflow_id, "fulfillments": items}
        path = "/workflow.requiredDocument.fulfillment.batchAdd"
        try:
            answer = await api.call("POST", path, json=json, repeatable=True)
            said = {id_: refusal(item) for item in _items(data(answer)) if (id_ := _required_id(item))}
        except StepError as error:
            if not error.failure.final:
                raise
            missing = await self.unlinked(api, required_ids, document_id)
            if len(missing) == len(required_ids):
                raise
            await self.link_document(api, workflow_id, missing, document_id)
            return
        refused = {id_: words for id_ in required_ids if (words := said.get(id_)) is not None}
        untold = [id_ for id_ in required_ids if id_ not in said]
        for id_ in await self.unlinked(api, untold, document_id):
            refused[id_] = "the vendor's answer does not mention it, and its list lacks it"
        if refused:
            words = "; ".join(f"{id_}: {reason}" for id_, reason in refused.items())
            raise StepError(Failure("link_failed", words, answered=True))


def subject(container: str) -> str:
    """A subject record's id."""
    return container.removeprefix("subject:")


def _items(answer: Json) -> list[Json]:
    """The items of a batch's answer: the name of their list is not published for the form of the vendor's docs."""
    return next((objects(value) for value in answer.values() if isinstance(value, list)), [])


def _required_id(item: Json) -> str | None:
    """Which required document an item is about."""
    for place in (item, mapping(item.get("request")), mapping(item.get("data"))):
        if id_ := text(place.get("required_document_id")):
            return id_
    return None


def _document(item: Json) -> RemoteDocument:
    file = RemoteFile(
        name=text(item.get("file_name")) or "",
        sha256=digest(text(item.get("hash"))),
        size=number(item.get("file_size")),
    )
    return RemoteDocument(
        id=text(item.get("document_id")) or "",
        target=f"subject:{text(item.get('subject_record_id')) or ''}",
        status=text(item.get("upload_status")),
        archived=item.get("deleted_at") is not None,
        files=(file,),
        created_at=text(item.get("created_at")),
        updated_at=text(item.get("updated_at")),
        properties={"comment": text(item.get("comment")), "uploaded_by": text(item.get("uploaded_by"))},
    )
