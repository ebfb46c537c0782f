"""Kompliant's documents and what they fulfil: listing, reading, linking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.providers.base import Caller, Json
from bulkup.providers.kompliant_envelope import digest, document, linked, listed, lists, opened
from bulkup.providers.reading import number, objects, required, text
from bulkup.providers.remote import RemoteDocument, RemoteFile, arranged
from bulkup.secret import scrub


class KompliantDocuments:
    """What can be done with documents beside the upload; ``container`` is ``subject:ID``, or the id.

    The vendor counts a document that is deleted as archived here.
    """

    __slots__ = ()

    contained: ClassVar[bool] = False

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`."""
        raise NotImplementedError

    async def list_documents(
        self, api: Caller, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """The documents of a subject record."""
        documents = [_document(item) for item in await self.list_all(api, container)]
        return arranged(documents, archived=archived, newest_first=newest_first)

    async def list_all(self, api: Caller, container: str) -> list[Json]:
        """All documents of a subject record, as they come; there is no paging."""
        subject = container.removeprefix("subject:")
        return listed(await self._ask(api, "/document.list", {"subject_record_id": subject}), "documents")

    async def get_document(self, api: Caller, container: str, document_id: str) -> RemoteDocument:  # noqa: ARG002
        """One document; its id is enough."""
        return _document(await self.record(api, document_id))

    async def record(self, api: Caller, document_id: str) -> Json:
        """One document, as it comes."""
        found = document(await self._ask(api, "/document.get", {"document_id": document_id}))
        required(found, "document_id")
        return found

    async def list_required(self, api: Caller, workflow_id: str) -> list[Json]:
        """See `Requirements.list_required`."""
        answer = await self._ask(api, "/workflow.requiredDocument.list", {"workflow_id": workflow_id})
        return listed(answer, "required_documents")

    async def required_by_code(self, api: Caller, workflow_id: str, code: str) -> str:
        """The id of the one required document with a type code.

        Raises:
            StepError: the workflow has none, or several.
        """
        known = await self.list_required(api, workflow_id)
        fitting = [item for item in known if text(item.get("document_type_code")) == code]
        match [text(item.get("required_document_id")) for item in fitting]:
            case [str() as id_]:
                return id_
            case []:
                codes = ", ".join(sorted({text(item.get("document_type_code")) or "" for item in known}))
                words = f"workflow {workflow_id} requires no document of type {code!r}; it requires: {codes or 'none'}"
            case several:
                ids = ", ".join(filter(None, several))
                words = f"workflow {workflow_id} requires several documents of type {code!r}: name one by its id: {ids}"
        raise StepError(Failure("no_requirement", scrub(words, self.secrets), answered=True))

    async def list_fulfillments(
        self, api: Caller, required_id: str, *, decision_status: str | None = None, upload_status: str | None = None
    ) -> list[Json]:
        """See `Requirements.list_fulfillments`."""
        given = {"decision_status": decision_status, "document_upload_status": upload_status}
        filters = {name: value for name, value in given.items() if value is not None}
        json = {"required_document_id": required_id} | ({"filters": filters} if filters else {})
        answer = await self._ask(api, "/workflow.requiredDocument.fulfillment.list", json)
        return [item for value in lists(answer) for item in objects(value)]

    async def unlinked(self, api: Caller, required_ids: Sequence[str], document_id: str) -> list[str]:
        """Those of the required documents that a document does not fulfil, as far as the vendor tells."""
        return [id_ for id_ in required_ids if not await self._fulfils(api, id_, document_id)]

    async def link_document(self, api: Caller, workflow_id: str, required_ids: Sequence[str], document_id: str) -> None:
        """Let one document fulfil several required ones, in one ``batchAdd``.

        The answer is examined item by item. An item that is refused, or that the answer does not mention, may be
        linked all the same, since an earlier call did so whose answer was lost: the list of fulfillments tells.

        Raises:
            StepError: ``link_failed`` names the items that were refused, and why.
        """
        if not required_ids:
            return
        items = [{"required_document_id": id_, "document_id": document_id} for id_ in required_ids]
        json = {"workflow_id": workflow_id, "fulfillments": items}
        path = "/workflow.requiredDocument.fulfillment.batchAdd"
        try:
            answer = (await api.call("POST", path, json=json, repeatable=True)).object()
            said = linked(answer, required_ids)
            if not said:
                opened(answer, self.secrets)
        except StepError as error:
            if not error.failure.final:
                raise
            missing = await self.unlinked(api, required_ids, document_id)
            if len(missing) == len(required_ids):
                raise
            await self.link_document(api, workflow_id, missing, document_id)
            return
        doubtful = [id_ for id_ in required_ids if said.get(id_, "") is not None]
        refused = await self.unlinked(api, doubtful, document_id)
        if refused:
            reasons = {id_: said.get(id_) or "the vendor's answer does not mention it" for id_ in refused}
            words = "; ".join(scrub(f"{id_}: {reason}", self.secrets) for id_, reason in reasons.items())
            raise StepError(Failure("link_failed", words, answered=True))

    async def _fulfils(self, api: Caller, required_id: str, document_id: str) -> bool:
        """Whether the vendor lists the link; one that it can't be asked about is made, and refused if it was there."""
        try:
            found = await self.list_fulfillments(api, required_id)
        except StepError as error:
            if not error.failure.final:
                raise
            return False
        return any(text(item.get("document_id")) == document_id for item in found)

    async def _ask(self, api: Caller, path: str, json: Json) -> Json:
        """What the answer to a question holds."""
        return opened((await api.call("POST", path, json=json, repeatable=True)).object(), self.secrets)


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
