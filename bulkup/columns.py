"""Types of manifest columns, for the adapters' `bulkup.model.Columns`.

A cell of CSV or TSV is text; JSON also has numbers, booleans and lists. Each type takes both, and says in its error
what would be right. Blank cells never get here: the reader treats them as absent.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator


def _text(value: object) -> object:
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    msg = "must be text"
    raise ValueError(msg)


def _path_segment(value: str) -> str:
    if value in {".", ".."}:
        msg = "must be an id, not a path"
        raise ValueError(msg)
    return value


Text = Annotated[str, BeforeValidator(_text)]
"""Text as it is given; a JSON number becomes its digits."""

Id = Annotated[Text, AfterValidator(_path_segment)]
"""Text that becomes one segment of a URL's path."""
