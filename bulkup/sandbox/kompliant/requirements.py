"""What workflows require, and the documents that fulfil it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from bulkup.sandbox.kompliant.access import Access, fields, missing, refuse
from bulkup.sandbox.kompliant.documents import KompliantDocument, iso
from bulkup.sandbox.kompliant.options import KompliantOptions
from bulkup.sandbox.steps import RefusedError

Item = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Required:
    """A required document of a workflow."""

    id: str
    code: str
    workflow: str

    def render(self) -> Mapping[str, object]:
        """As ``workflow.requiredDocument.list`` answers it."""
        return {
            "required_document_id": self.id,
            "document_type_code": self.code,
            "name": self.code.title().replace("_", " "),
            "category": "REQUIREMENT",
            "requirement_text": "required by the sandbox",
            "required_document_status": "INACTIVE",
            "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-01T00:00:00Z",
        }


@dataclass(frozen=True, slots=True)
class Fulfillment:
    """A document that fulfils a required one; ``created`` is a Unix time in seconds."""

    id: str
    required: str
    document: str
    decision: str
    created: float

    def render(self) -> Mapping[str, object]:
        """As ``batchAdd`` answers it in the guide."""
        return {
            "fulfillment_id": self.id,
            "required_document_id": self.required,
            "document_id": self.document,
            "decision_status": self.decision,
            "created_at": iso(self.created),
            "updated_at": iso(self.created),
        }


class Requirements:
    """The three methods of workflows' requirements.

    Args:
        access: reads calls and words answers.
        options: the workflows, and the form of answers.
        documents: all documents, by id.
        clock: the time now, as a Unix time in seconds.
    """

    def __init__(
        self,
        access: Access,
        options: KompliantOptions,
        documents: Mapping[str, KompliantDocument],
        clock: Callable[[], float],
    ) -> None:
        self._access = access
        self._options = options
        self._documents = documents
        self._clock = clock
        self.required = [
            Required(f"rd_{workflow.removeprefix('w_')}_{code.lower()}", code, workflow)
            for workflow, (_, codes) in options.workflows.items()
            for code in codes
        ]
        self.fulfillments: list[Fulfillment] = []

    async def list_required(self, request: web.Request) -> web.StreamResponse:
        """``workflow.requiredDocument.list``."""
        workflow = self._workflow(await self._access.read(request, ["workflow_id"]))
        found = [each.render() for each in self.required if each.workflow == workflow]
        return self._access.answer({"required_documents": found})

    async def add(self, request: web.Request) -> web.StreamResponse:
        """``workflow.requiredDocument.fulfillment.batchAdd``; each item is judged by itself."""
        body = await self._access.read(request, ["workflow_id", "fulfillments"])
        items = _items(body["fulfillments"])
        workflow = self._workflow(body)
        if workflow in self._options.ended:
            refuse("the workflow has ended", "SYSTEM_RULE_VIOLATION", "WORKFLOW_ENDED", breach=False)
        added: list[Fulfillment] = []
        results: list[Mapping[str, object]] = []
        refused: list[Mapping[str, object]] = []
        for item in items:
            error = self._problem(workflow, item, [*self.fulfillments, *added])
            if error is not None:
                refused.append(error)
                results.append({"request": item, "status": "ERROR", "errors": [error]})
                continue
            made = self._made(item)
            added.append(made)
            flat = self._options.batch_form == "flat"
            results.append(made.render() if flat else {"request": item, "status": "SUCCESS", "data": made.render()})
        if refused and self._options.refusals == "batch":
            raise RefusedError(400, "the batch was refused", {"errors": refused}, breach=False)
        self.fulfillments += added
        return self._access.answer({self._options.batch_list: results})

    async def list_fulfillments(self, request: web.Request) -> web.StreamResponse:
        """``workflow.requiredDocument.fulfillment.list``; a filter takes one value here."""
        body = await self._access.read(request, ["required_document_id"], ["filters", "verbose"])
        required = body["required_document_id"]
        filters = body.get("filters", {})
        if not isinstance(filters, dict) or not all(isinstance(value, str) for value in filters.values()):
            refuse("filters must be an object of texts")
        fields(filters, "filters.", [], ["decision_status", "document_upload_status"])
        if not isinstance(body.get("verbose", False), bool):
            refuse("verbose must be true or false")
        if all(each.id != required for each in self.required):
            missing(f"required document {required}")
        found = [
            each.render()
            for each in self.fulfillments
            if each.required == required
            and filters.get("decision_status") in {None, each.decision}
            and filters.get("document_upload_status") in {None, self._documents[each.document].status}
        ]
        return self._access.answer({"fulfillments": found})

    def _made(self, item: Item) -> Fulfillment:
        id_ = f"f_{secrets.token_urlsafe(16)}"
        required, document = item["required_document_id"], item["document_id"]
        return Fulfillment(id_, required, document, self._options.decision, self._clock())

    def _problem(self, workflow: str, item: Item, there: Sequence[Fulfillment]) -> Mapping[str, object] | None:
        """Why a document can't fulfil a required one: an error as the vendor writes it."""
        required, document = item["required_document_id"], item["document_id"]
        if all((each.id, each.workflow) != (required, workflow) for each in self.required):
            return _error("ENTITY_NOT_FOUND", f"there is no required document {required} in {workflow}")
        found = self._documents.get(document)
        if found is None:
            return _error("ENTITY_NOT_FOUND", f"there is no document {document}")
        subject = self._options.workflows[workflow][0]
        if subject and found.subject != subject:
            return _error("SYSTEM_RULE_VIOLATION", "the document belongs to another subject record")
        if any((each.required, each.document) == (required, document) for each in there):
            return _error("SYSTEM_RULE_VIOLATION", self._options.duplicate)
        return None

    def _workflow(self, body: Mapping[str, object]) -> str:
        workflow = str(body["workflow_id"])
        if workflow not in self._options.workflows:
            missing(f"workflow {workflow}")
        return workflow


def _items(given: object) -> Sequence[Item]:
    """The items of a batch; raises as `fields`."""
    if not isinstance(given, list) or not given or not all(isinstance(item, dict) for item in given):
        refuse("fulfillments must be a non-empty array of objects")
    for number, item in enumerate(given):
        fields(item, f"fulfillments[{number}].", ["required_document_id", "document_id"])
    return given


def _error(code: str, message: str) -> Mapping[str, object]:
    return {"code": code, "message": message}
