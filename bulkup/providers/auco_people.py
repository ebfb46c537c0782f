"""Who signs an Auco process and who watches it: ``signProfile`` and ``readers``, checked by the guide's table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic.config import JsonDict

from bulkup.columns import is_email

PERSON: JsonDict = {
    "type": "object",
    "required": ["name", "email"],
    "properties": {
        "name": {"type": "string"},
        "email": {"type": "string", "format": "email"},
        "phone": {"type": "string"},
        "role": {"enum": ["SIGNER", "APPROVER"]},
    },
}
"""A signer for editors; of a reader the first two apply."""


def checked_signers(signers: list[Any]) -> list[Any]:
    """Signers that can be sent; an ``order`` that is a number becomes its digits, since the guide says String.

    Raises:
        ValueError: all that is wrong with them; the first signer is 1.
    """
    if not signers:
        raise ValueError("must name at least one signer")
    _refuse([*_each(signers, "signer", _signer), *_repeats(signers, "email"), *_repeats(signers, "phone")])
    return [{name: str(value) if name == "order" else value for name, value in each.items()} for each in signers]


def checked_readers(readers: list[Any]) -> list[Any]:
    """Readers that can be sent; raises as `checked_signers`."""
    _refuse([*_each(readers, "reader", _person)])
    return readers


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))


def _each(people: Sequence[object], kind: str, problems: Callable[[Mapping[str, Any]], Iterable[str]]) -> Iterator[str]:
    for number, person in enumerate(people, 1):
        found = problems(person) if isinstance(person, dict) else ["must be an object"]
        yield from (f"{kind} {number}: {problem}" for problem in found)


def _person(person: Mapping[str, Any], names: Sequence[str] = ("name", "email")) -> Iterator[str]:
    for name in ("name", "email"):
        value = person.get(name)
        if not isinstance(value, str) or not value.strip():
            yield f"{name} is required, as text"
        elif name == "email" and not is_email(value):
            yield "email must be an e-mail address"
    known = {name.lower(): name for name in names}
    for name in person:  # newer fields than the guide's pass, misspelt ones of its do not
        meant = known.get(re.sub(r"[^a-z]", "", name.lower()), name)
        if meant != name:
            yield f"{name!r} is unknown: did you mean {meant!r}?"


_FLAG: tuple[str, Callable[[object], bool]] = ("must be true or false", lambda value: isinstance(value, bool))
_FIELDS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "phone": (
        "must be a phone number, as text such as '+573001234567'",
        lambda value: isinstance(value, str) and bool(_digits(value)),
    ),
    "role": ("must be APPROVER or SIGNER", lambda value: value in ("APPROVER", "SIGNER")),
    "order": ("must be text, such as '1'", lambda value: isinstance(value, str | int) and not isinstance(value, bool)),
    "label": _FLAG,
    "camera": _FLAG,
    "otpCode": _FLAG,
    "both": _FLAG,
    "position": ("must be an array", lambda value: isinstance(value, list)),
    "type": ("must be text or an array", lambda value: isinstance(value, str | list)),
    "options": ("must be an object", lambda value: isinstance(value, dict)),
}
"""What a signer may have besides a name and an address. ``type``: the guide's table says Array, its sample a string."""


def _signer(signer: Mapping[str, Any]) -> Iterator[str]:
    yield from _person(signer, ("name", "email", *_FIELDS))
    for name, (problem, good) in _FIELDS.items():
        if name in signer and not good(signer[name]):
            yield f"{name} {problem}"


def _digits(phone: str) -> str:
    """What makes a number the same: neither blanks nor brackets, and ``00`` is ``+``."""
    return re.sub(r"\D", "", phone).removeprefix("00")


_SAME: Mapping[str, Callable[[str], str]] = {"email": str.casefold, "phone": _digits}


def _repeats(signers: Sequence[Any], name: str) -> Iterator[str]:
    """Addresses and phone numbers that two signers have in common (guide: they "must not be repeated")."""
    firsts: dict[str, int] = {}
    for number, signer in enumerate(signers, 1):
        given = signer.get(name) if isinstance(signer, dict) else None
        value = _SAME[name](given) if isinstance(given, str) else ""
        if value and firsts.setdefault(value, number) != number:
            yield f"signer {number}: {name} repeats that of signer {firsts[value]}"
