"""Kompliant's columns of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from bulkup.columns import Id, Names, Text
from bulkup.model import Columns


class KompliantColumns(Columns):
    """A Kompliant row: the subject record, and what the document fulfils."""

    model_config = ConfigDict(
        json_schema_extra={  # as `_links_have_a_workflow`
            "dependentRequired": {"required_document_ids": ["workflow_id"], "document_type_code": ["workflow_id"]}
        }
    )

    subject_record_id: Id = Field(description="The subject record's id, sr_...")
    workflow_id: Text | None = Field(None, description="The workflow's id, w_..., whose required documents it fulfils.")
    required_document_ids: Names | None = Field(None, description="Ids of the required documents, rd_...")
    document_type_code: Text | None = Field(None, description="The type code of the required document, if not its id.")

    @model_validator(mode="after")
    def _links_have_a_workflow(self) -> Self:
        if self.workflow_id is None and (self.required_document_ids or self.document_type_code):
            raise ValueError("required_document_ids and document_type_code need a workflow_id")
        return self

    def objections(self, filename: str, now: datetime) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """The file name includes the extension (guide, step 1)."""
        stem, _, extension = filename.rpartition(".")
        return () if stem and extension else [("filename", "must have an extension, such as .pdf")]

    @property
    def target(self) -> str:
        """The subject record."""
        return f"subject:{self.subject_record_id}"

    @property
    def share(self) -> tuple[str | None, ...]:
        """The subject alone: what the document is linked to may be put right after a failure."""
        return (self.subject_record_id,)
