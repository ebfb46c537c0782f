"""The people of a create call, its signers and readers: what they must be, by Auco's guide. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bulkup.sandbox.auco.fields import Kinds, check_email, check_fields, refuse
from bulkup.sandbox.auco.options import AucoOptions

_SIGNER: Final[Kinds] = {
    "name": "String",
    "email": "String",
    "phone": "String",
    "role": "String",
    "order": "String",
    "label": "Boolean",
    "position": "Array",
    "type": "String or Array",  # the guide's table has an array, its sample a string
    "options": "Object",
    "camera": "Boolean",
    "otpCode": "Boolean",
    "both": "Boolean",
}
_NEWER: Final[Kinds] = {"files": "Array", "notification": "Boolean"}
_READER: Final[Kinds] = {"name": "String", "email": "String"}
_PLACES: Final = ("type", "label", "position")


def check_signers(signers: Sequence[Any], options: AucoOptions, *, package: bool) -> None:
    """Refuse signers that break a rule.

    Args:
        signers: ``signProfile``, an array.
        options: the switches.
        package: they are of a call to ``/package/upload``.
    """
    kinds = {**_SIGNER, **_NEWER} if options.newer_fields else _SIGNER
    emails: set[str] = set()
    phones: set[str] = set()
    for where, signer in _each(signers, "signProfile"):
        check_fields(signer, kinds, ("name", "email", *(["phone"] if options.strict else [])), where)
        check_email(signer, where)
        if signer.get("role", "SIGNER") not in ("APPROVER", "SIGNER"):
            refuse(f"{where}role must be APPROVER or SIGNER")
        if package and "notification" in signer:
            refuse(f"{where}notification is not supported here", "SIGNER_NOTIFICATION_NOT_SUPPORTED")
        if options.strict:
            check_validations(signer, where)
            if package and sum(bool(signer.get(name)) for name in _PLACES) != 1:
                refuse(f"{where}exactly one of {', '.join(_PLACES)} is required")
        email, phone = signer["email"].casefold(), re.sub(r"\D", "", signer.get("phone", "")).removeprefix("00")
        if email in emails:
            refuse(f"{where}email is repeated")
        if "phone" in signer and not phone:
            refuse(f"{where}phone must be a phone number")
        if phone and phone in phones:
            refuse(f"{where}phone is repeated")
        emails.add(email)
        phones.add(phone)


def check_validations(given: dict[str, Any], where: str = "") -> None:
    """Refuse ``options`` without what they are options of."""
    if "options" in given and not (given.get("camera") or given.get("otpCode")):
        refuse(f"{where}options need camera or otpCode")


def check_readers(readers: Sequence[Any]) -> None:
    """Refuse readers without name or address."""
    for where, reader in _each(readers, "readers"):
        check_fields(reader, _READER, _READER, where)
        check_email(reader, where)


def _each(people: Sequence[Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, person in enumerate(people):
        if not isinstance(person, dict):
            refuse(f"{name}[{number}] must be Object")
        yield f"{name}[{number}].", person
