"""Fields of a JSON object, by the types of Auco's guide: required ones, known ones, and what they must hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from bulkup.sandbox.steps import RefusedError

Kinds = Mapping[str, str]
"""Names of fields, and the guide's words for their types."""

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "String": str,
    "Boolean": bool,
    "Number": (int, float),
    "Date": str,
    "Object": dict,
    "Array": list,
    "String or Array": (str, list),
}


def refuse(words: str, code: str = "VALIDATION_ERROR", *, breach: bool = True) -> NoReturn:
    """Auco answers 400 for whatever does not meet its conditions."""
    raise RefusedError(400, words, {"code": code}, breach)


def check_fields(given: Mapping[str, Any], kinds: Kinds, needed: Iterable[str], where: str = "") -> None:
    """Refuse an object that lacks a field, has one that is unknown, or one of another type."""
    for name in needed:
        value = given.get(name)
        if not (value.strip() if isinstance(value, str) else value):
            refuse(f"{where}{name} is required")
    if unknown := sorted(given.keys() - kinds.keys()):
        refuse(f"unknown: {', '.join(where + name for name in unknown)}")
    for name, value in given.items():
        kind = kinds[name]
        if not isinstance(value, _TYPES[kind]) or (kind == "Number" and isinstance(value, bool)):
            refuse(f"{where}{name} must be {kind}")


def check_email(given: Mapping[str, Any], where: str = "") -> None:
    """Refuse what can't be an address."""
    name, _, host = given["email"].partition("@")
    if not name or not host or any(character.isspace() or character == "@" for character in name + host):
        refuse(f"{where}email must be an email address")
