"""What the engines of both databases have in common: how they keep JSON, and how they explain errors."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy.engine import ExceptionContext

from bulkup.errors import LedgerReadError

PLACE = "place"
"""Where a connection says which ledger it is of."""

DAMAGED = "database disk image is malformed"
"""SQLite's own words for it."""


def decoded(text: str) -> Any:
    """A value that was kept as JSON; raises `LedgerReadError`."""
    try:
        return orjson.loads(text)
    except ValueError:
        raise LedgerReadError(DAMAGED) from None


JSON = {"json_serializer": lambda value: orjson.dumps(value).decode(), "json_deserializer": decoded}
"""How an engine keeps JSON."""


def explain(context: ExceptionContext) -> None:
    """Give the database's own words, without the statement and its parameters."""
    words = (str(context.original_exception).splitlines() or [DAMAGED])[0].partition(" with text ")[0]
    place = None if context.connection is None else context.connection.info.get(PLACE)
    raise LedgerReadError(words, place) from None
