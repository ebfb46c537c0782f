"""Alloy's columns of a manifest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bulkup.columns import Email, Id, Text
from bulkup.model import Columns


def _without_dot(value: str) -> str:
    if value.startswith("."):
        raise ValueError(f"must be without its dot: {value[1:]!r}")
    return value


class AlloyColumns(Columns):
    """An Alloy row: the entity, the document's type, and a note on it."""

    entity_token: Id = Field(description="The person's or business's token.")
    type: Literal["contract", "license", "passport", "utility", "other", "internal"] = Field(
        description="What the document is."
    )
    name: Text | None = Field(None, description="The document's name; by default that of the file without extension.")
    extension: Annotated[Text, AfterValidator(_without_dot)] | None = Field(
        None, description="The file type, without a dot; by default that of the file."
    )
    note: Text | None = Field(None, description="A note on the document.")
    note_author_agent_email: Email | None = Field(None, description="Whose note it is: an agent with an Alloy account.")

    @property
    def target(self) -> str:
        """The entity."""
        return f"entity:{self.entity_token}"

    @property
    def share(self) -> tuple[str | None, ...]:
        """What makes another document; a note may be put right after a failure."""
        return (self.entity_token, self.type, self.name, self.extension)

    @property
    def identity(self) -> dict[str, str]:
        """The same file under another type, name or extension is another document."""
        given = {"type": self.type, "name": self.name, "extension": self.extension}
        return {name: value for name, value in given.items() if value is not None}
