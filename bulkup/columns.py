"""Types of manifest columns, for the adapters' `bulkup.model.Columns`.

A cell of CSV or TSV is text; JSON also has numbers, booleans, lists and objects. Each type takes both, says in its
error what would be right, and has a JSON Schema for editors. Blank cells never get here: the reader treats them as
absent. What a type once accepted it accepts for ever, since a ledger's cells are read again by later runs.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema


def _wrong(text: str) -> ValueError:
    """Pydantic collects a ValueError, and no TypeError."""
    return ValueError(text)


def _text(value: object) -> object:
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    raise _wrong("must be text")


def _path_segment(value: str) -> str:
    if value in {".", ".."}:
        raise ValueError("must be an id, not a path")
    return value


_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    flag = _FLAGS.get(str(value).lower()) if isinstance(value, str | int) else None
    if flag is None:
        raise ValueError("must be true or false")
    return flag


def _number(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    raise ValueError("must be a whole number")


def _names(value: object) -> object:
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise _wrong("must be a list, or text with ';' between its parts")
    names = [part.strip() if isinstance(part, str) else _text(part) for part in parts]
    if not names or "" in names:
        raise ValueError("must not have empty parts")
    return tuple(names)


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = orjson.loads(value)  # strict: no NaN, no lone surrogates
        json.loads(value, object_pairs_hook=_each_name_once)
    except json.JSONDecodeError:
        raise ValueError("is not valid JSON") from None
    return found


def _each_name_once(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("is an object that gives a name twice")


def _json_object(value: object) -> object:
    value = _json(value)
    if not isinstance(value, dict):
        raise _wrong('must be a JSON object, such as {"a": 1}')
    return value


def _json_array(value: object) -> object:
    value = _json(value)
    if not isinstance(value, list):
        raise _wrong("must be a JSON array, such as [1, 2]")
    return value


def _email(value: str) -> str:
    if not is_email(value):
        raise ValueError("must be an e-mail address")
    return value


def _moment(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        raise ValueError("must be a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z") from None


def is_email(value: str) -> bool:
    """Whether text can be an e-mail address: one @ with something on both sides, and no spaces."""
    return re.fullmatch(r"[^@\s]+@[^@\s]+", value) is not None


_EITHER = {"type": ["string", "integer"]}

Text = Annotated[str, BeforeValidator(_text), WithJsonSchema(_EITHER)]
"""Text as it is given; a JSON number becomes its digits."""

Id = Annotated[Text, AfterValidator(_path_segment)]
"""Text that becomes one segment of a URL's path."""

Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"enum": [True, False, "true", "false", "yes", "no"]})]
"""True or false; as text also yes and no, 1 and 0, in any case."""

Number = Annotated[int, BeforeValidator(_number), WithJsonSchema({**_EITHER, "pattern": "^-?[0-9]+$"})]
"""A whole number."""

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _EITHER, "minItems": 1}]}),
]
"""Several texts: a JSON list, or text with ``;`` between; blanks around each are taken off."""

JsonObject = Annotated[dict[str, Any], BeforeValidator(_json_object), WithJsonSchema({"type": ["object", "string"]})]
"""A JSON object, also as text."""

JsonArray = Annotated[list[Any], BeforeValidator(_json_array), WithJsonSchema({"type": ["array", "string"]})]
"""A JSON array, also as text."""

Email = Annotated[Text, AfterValidator(_email), WithJsonSchema({"type": "string", "format": "email"})]
"""An e-mail address."""

Moment = Annotated[datetime, BeforeValidator(_moment), BeforeValidator(_text), WithJsonSchema({"type": "string"})]
"""A date (its midnight, UTC) or a time (UTC, where it names no zone), in ISO 8601."""
