"""Reading vendors' JSON leniently: what is not of the expected kind counts as not said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import orjson

from bulkup.providers.base import Json, unreadable
from bulkup.secret import SignedUrl

_CLOCK_SKEW = timedelta(minutes=5)
_LONGEST_NUMBER = 18
"""Digits."""
_LONGEST_TOKEN = 16 * 1024


def text(value: object) -> str | None:
    """Text; a whole number becomes its digits, since vendors write ids either way."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: object) -> int | None:
    """A whole number, also one that is written as text."""
    if isinstance(value, str):  # of 64 bits, as JSON's own numbers are
        return int(value) if value.isdecimal() and len(value) <= _LONGEST_NUMBER else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def token(value: object) -> str | None:
    """Text that can stand in a URL, a header, a ledger and on a line; None if it is none, or empty."""
    given = value if isinstance(value, str) else text(value)
    return given if given and len(given) <= _LONGEST_TOKEN and given.isprintable() else None


def shown(value: object) -> str:
    """Any JSON value as text; empty if it is nested too deeply."""
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def mapping(value: object) -> Json:
    """A JSON object; empty if it is none."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Json]:
    """The JSON objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def required(item: Json, *names: str) -> tuple[str, ...]:
    """Fields that an answer can't do without, as text.

    Raises:
        StepError: ``unreadable_answer``, which counts as a lost answer.
    """
    values = [token(item.get(name)) for name in names]
    if not all(values):
        raise unreadable(f"the answer lacks {' or '.join(names)}")
    return tuple(cast("list[str]", values))


def web_url(value: object) -> SignedUrl | None:
    """A URL that can be fetched."""
    url = text(value) or ""
    return SignedUrl(url) if url.startswith(("https://", "http://")) else None


def moment(seconds: float | None) -> str | None:
    """A Unix time in seconds as ISO 8601."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OSError, OverflowError, ValueError):
        return None


def recent(created_at: str | None, initiated_at: str) -> bool:
    """Whether a record can come from an init; clocks may differ a little, and an unreadable time proves nothing."""
    try:
        created, initiated = (datetime.fromisoformat(cast("str", at)) for at in (created_at, initiated_at))
        return created >= initiated - _CLOCK_SKEW
    except (ValueError, TypeError):
        return True
