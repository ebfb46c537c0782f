"""LightReach's columns of a manifest."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bulkup.columns import Id, Text
from bulkup.model import Columns


class LightReachColumns(Columns):
    """A LightReach row: the account, the document's type, and how it is to be filed."""

    group_column: ClassVar[str | None] = "group"

    account_id: Id = Field(description="The account.")
    type: Text = Field(description="The document type, such as utilityBill; the vendor checks it.")
    external_reference: Text | None = Field(None, description="Your own id for it, which the vendor stores.")
    group: Text | None = Field(
        None, description="Rows with the same account, type, reference and group become one document, of 25 at most."
    )

    @property
    def target(self) -> str:
        """The account."""
        return f"account:{self.account_id}"

    @property
    def share(self) -> tuple[str | None, ...]:
        """All of these apply to a whole upload, so only equal ones may share an init (guide, "Upload options")."""
        return (self.account_id, self.type, self.external_reference, self.group)

    @property
    def bundled(self) -> bool:
        """Rows with a group become one document of several files (``grouped: true``)."""
        return self.group is not None

    @property
    def identity(self) -> dict[str, str]:
        """The same file under another type, reference or group is another document."""
        given = {"type": self.type, "external_reference": self.external_reference, "group": self.group}
        return {name: value for name, value in given.items() if value is not None}
