"""What a LoanPro call says: the bodies and numbers that its guide allows, and 409 for all else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

import orjson

from bulkup.sandbox.steps import RefusedError

_CHANGES: Final = frozenset({"archived", "customerVisible", "sectionId", "description", "fileName"})
_FRAME: Final = frozenset({"id", "__id", "__update"})


@dataclass(frozen=True, slots=True)
class Announcement:
    """The body of an init; ``size`` in bytes."""

    section: str
    name: str
    label: str | None
    size: int | None


def conflict(words: str, *, breach: bool = True) -> NoReturn:
    """LoanPro answers most errors with 409.

    Args:
        breach: as `RefusedError` takes it.
    """
    raise RefusedError(409, words, breach=breach)


def announcement(body: bytes) -> Announcement:
    """Read the body of an init."""
    given = _object(body)
    if extra := sorted(given.keys() - {"sectionId", "fileName", "customFileName", "size"}):
        conflict(f"unknown fields: {', '.join(extra)}")
    section = numeric("sectionId", given.get("sectionId"))
    name = _text("fileName", given.get("fileName"))
    label = _text("customFileName", given["customFileName"]) if "customFileName" in given else None
    size = given.get("size")
    if "size" in given and (type(size) is not int or size < 0):
        conflict("size must be a number of bytes")
    return Announcement(section, name, label, size if isinstance(size, int) else None)


def changes(body: bytes, id_: int) -> Mapping[str, int | str]:
    """Read the body of an update of the record ``id_``: what is to change."""
    given = _object(body)
    if given.get("__update") is not True:
        conflict("__update must be true")
    for name in ("__id", "id"):
        if numeric(name, given.get(name)) != str(id_):
            conflict(f"{name} must be the document's id")
    if extra := sorted(given.keys() - _CHANGES - _FRAME):
        conflict(f"can't update {', '.join(extra)}")
    if not given.keys() & _CHANGES:
        conflict("there is nothing to update")
    found: dict[str, int | str] = {}
    for name in sorted(given.keys() & _CHANGES):
        value = given[name]
        if name in {"archived", "customerVisible"}:
            if type(value) is not int or value not in {0, 1}:
                conflict(f"{name} must be 0 or 1")
            found[name] = value
        elif name == "description":
            found[name] = _text(name, value, empty=True)
        else:
            found[name] = numeric(name, value) if name == "sectionId" else _text(name, value)
    return found


def numeric(name: str, value: object) -> str:
    """An id: a number, or its digits as text."""
    digits = str(value) if type(value) in {int, str} else ""
    if not digits:
        conflict(f"{name} is required")
    if not (digits.isascii() and digits.isdecimal()):
        conflict(f"{name} must be a number")
    return digits


def _text(name: str, value: object, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        conflict(f"{name} must be text" if value is not None else f"{name} is required")
    if not (value or empty):
        conflict(f"{name} is required")
    return value


def _object(body: bytes) -> dict[str, object]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        conflict("the body is not valid JSON")
    if not isinstance(content, dict):
        conflict("the body must be a JSON object")
    return content
