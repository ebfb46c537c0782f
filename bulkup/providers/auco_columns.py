"""Auco's columns of a manifest: all fields of the guide, checked before a process is created."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from bulkup.columns import Email, Flag, JsonArray, JsonObject, Moment, Number, Text, is_email
from bulkup.model import Columns

_PERSON: JsonDict = {
    "type": "object",
    "required": ["name", "email"],
    "properties": {
        "name": {"type": "string"},
        "email": {"type": "string", "format": "email"},
        "phone": {"type": "string"},
        "role": {"enum": ["SIGNER", "APPROVER"]},
    },
}
_EARLIEST_END = timedelta(days=3)


def _signers(signers: list[Any]) -> list[Any]:
    if not signers:
        raise ValueError("must name at least one signer")
    problems = list(_signer_problems(signers))
    if problems:
        raise ValueError("; ".join(problems))
    return signers


def _readers(readers: list[Any]) -> list[Any]:
    problems = [problem for at, reader in enumerate(readers, 1) for problem in _person_problems(at, reader)]
    if problems:
        raise ValueError("; ".join(problems))
    return readers


def _multiple_of_three(hours: int) -> int:
    if hours <= 0 or hours % 3:
        raise ValueError("must be a multiple of 3, in hours")
    return hours


class AucoColumns(Columns):
    """An Auco row: the process, who signs, and how they are asked."""

    model_config = ConfigDict(
        json_schema_extra={  # as `_package`
            "dependentSchemas": {"package_name": {"properties": {"notification": False, "document": False}}}
        }
    )

    email: Email = Field(description="The creator of the process.")
    name: Text = Field(description="The process's name.")
    subject: Text = Field(description="The subject of the mail to the signers.")
    message: Text = Field(description="The text of the mail to the signers.")
    sign_profile: Annotated[JsonArray, AfterValidator(_signers)] = Field(
        description="The signers and approvers.", json_schema_extra={"items": _PERSON, "minItems": 1}
    )
    document: Text | None = Field(None, description="A template's id.")
    folder: Text | None = Field(None, description="An existing folder of the creator.")
    remember: Annotated[Number, AfterValidator(_multiple_of_three)] | None = Field(
        None, description="Hours between reminders, a multiple of 3."
    )
    expired_date: Moment | None = Field(None, description="When the process expires: more than 3 days from now.")
    camera: Flag | None = Field(None, description="Whether signers are validated by photo.")
    otp_code: Flag | None = Field(None, description="Whether signers are validated by a one-time code.")
    options: JsonObject | None = Field(None, description="Settings of the identity validation.")
    notification: Flag | None = Field(None, description="Whether participants are notified; by default they are.")
    readers: Annotated[JsonArray, AfterValidator(_readers)] | None = Field(
        None, description="Observers, each with name and email.", json_schema_extra={"items": _PERSON}
    )
    compress: Flag | None = Field(None, description="Whether the PDF goes by a signed URL; by default large ones do.")
    package_name: Text | None = Field(None, description="Makes the process a package of this name.")
    custom: JsonObject | None = Field(None, description="Data of your own, given back by Auco.")

    @model_validator(mode="after")
    def _package(self) -> Self:
        if self.package_name is not None:
            for column in ("notification", "document"):
                if getattr(self, column) is not None:
                    raise ValueError(f"{column} can't be given together with package_name")
        return self

    def objections(self, filename: str, now: datetime) -> Sequence[tuple[str, str]]:
        """PDF only, and an end more than 3 days ahead (guide, creation parameters)."""
        found = []
        if not filename.lower().endswith(".pdf"):
            found.append(("path", "must be a PDF: Auco takes nothing else"))
        if self.expired_date is not None and self.expired_date <= now + _EARLIEST_END:
            found.append(("expired_date", "must be more than 3 days from now"))
        return found

    @property
    def expired_at(self) -> str | None:
        """``expired_date`` as JSON dates are written, such as ``2027-01-31T00:00:00.000Z``."""
        if self.expired_date is None:
            return None
        return self.expired_date.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def target(self) -> str:
        """The creator."""
        return self.email

    @property
    def share(self) -> tuple[str | None, ...]:
        """What makes another process; the rest may be put right after a failure."""
        return (self.email, self.name, self.subject, self.package_name, *self._emails())

    @property
    def identity(self) -> dict[str, str]:
        """The same PDF for other signers, or under another name or subject, is another process."""
        given = {"name": self.name, "subject": self.subject, "package_name": self.package_name}
        signers = {"signers": ";".join(self._emails())}
        return {name: value for name, value in given.items() if value is not None} | signers

    def _emails(self) -> list[str]:
        return [str(signer["email"]) for signer in self.sign_profile]


def _person_problems(at: int, person: object) -> Iterator[str]:
    if not isinstance(person, dict):
        yield f"{at}: must be an object"
        return
    for name in ("name", "email"):
        value = person.get(name)
        if not isinstance(value, str) or not value.strip():
            yield f"{at}.{name}: is required"
    if isinstance(person.get("email"), str) and person["email"].strip() and not is_email(person["email"]):
        yield f"{at}.email: must be an e-mail address"


_FIELDS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "phone": ("must be text", lambda value: isinstance(value, str)),
    "role": ("must be APPROVER or SIGNER", lambda value: value in ("APPROVER", "SIGNER")),
    "order": ("must be text", lambda value: isinstance(value, str | int) and not isinstance(value, bool)),
    "label": ("must be true or false", lambda value: isinstance(value, bool)),
    "camera": ("must be true or false", lambda value: isinstance(value, bool)),
    "otpCode": ("must be true or false", lambda value: isinstance(value, bool)),
    "both": ("must be true or false", lambda value: isinstance(value, bool)),
    "position": ("must be an array", lambda value: isinstance(value, list)),
    "type": ("must be text or an array", lambda value: isinstance(value, str | list)),
    "options": ("must be an object", lambda value: isinstance(value, dict)),
}


def _signer_problems(signers: Sequence[object]) -> Iterator[str]:
    emails: dict[str, int] = {}
    phones: dict[str, int] = {}
    for at, signer in enumerate(signers, 1):
        yield from _person_problems(at, signer)
        if not isinstance(signer, dict):
            continue
        for name, (problem, good) in _FIELDS.items():
            if name in signer and not good(signer[name]):
                yield f"{at}.{name}: {problem}"
        email, phone = signer.get("email"), signer.get("phone")
        if isinstance(email, str):
            first = emails.setdefault(email.strip().casefold(), at)
            if first != at:
                yield f"{at}.email: repeats that of signer {first}"
        if isinstance(phone, str) and (digits := re.sub(r"\D", "", phone)):
            first = phones.setdefault(digits, at)
            if first != at:
                yield f"{at}.phone: repeats that of signer {first}"
