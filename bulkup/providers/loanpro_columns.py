"""LoanPro's columns of a manifest."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from bulkup.columns import Flag, Id, Text
from bulkup.model import Columns


class LoanProColumns(Columns):
    """A LoanPro row: the loan or customer, the section, and how the document is to be shown."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["loan_id"]}, {"required": ["customer_id"]}]}  # as `_one_owner`
    )

    section_id: Id = Field(description="The document section's id; it must exist in the account.")
    loan_id: Id | None = Field(None, description="The loan's id; or customer_id.")
    customer_id: Id | None = Field(None, description="The customer's id; or loan_id.")
    custom_file_name: Text | None = Field(None, description="A label that LoanPro shows.")
    description: Text | None = Field(None, description="What LoanPro says of the document.")
    customer_visible: Flag | None = Field(None, description="Whether the customer sees it on the website.")
    archived: Flag | None = Field(None, description="Whether it is archived at once.")

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if (self.loan_id is None) == (self.customer_id is None):
            raise ValueError(
                "one of loan_id and customer_id is required"
                if self.loan_id is None
                else "has both loan_id and customer_id: give one"
            )
        return self

    @property
    def target(self) -> str:
        """The loan or the customer."""
        return f"customer:{self.customer_id}" if self.loan_id is None else f"loan:{self.loan_id}"

    @property
    def share(self) -> tuple[str | None, ...]:
        """What makes another document; the rest of the columns may be put right after a failure."""
        return (self.target, self.section_id, self.custom_file_name)

    @property
    def identity(self) -> dict[str, str]:
        """The same file in another section or under another label is another document."""
        given = {"section_id": self.section_id, "custom_file_name": self.custom_file_name}
        return {name: value for name, value in given.items() if value is not None}
