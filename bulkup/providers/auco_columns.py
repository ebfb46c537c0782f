"""Auco's columns of a manifest: all fields of the guide, checked before a process is created."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

from bulkup.columns import Email, Flag, JsonArray, JsonObject, Moment, Number, Text
from bulkup.model import Columns
from bulkup.providers.auco_people import PERSON, checked_readers, checked_signers

_EARLIEST_END = timedelta(days=3)


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _multiple_of_three(hours: int) -> int:
    if hours <= 0 or hours % 3:
        raise ValueError("must be a multiple of 3, in hours")
    return hours


Words = Annotated[Text, AfterValidator(_not_blank)]


class AucoColumns(Columns):
    """An Auco row: the process, who signs, and how they are asked."""

    model_config = ConfigDict(
        json_schema_extra={  # as in `objections`
            "dependentSchemas": {"package_name": {"properties": {"notification": False, "document": False}}}
        }
    )

    contained: ClassVar[bool] = False

    email: Email = Field(description="The creator of the process.")
    name: Words = Field(description="The process's name.")
    subject: Words = Field(description="The subject of the mail to the signers.")
    message: Words = Field(description="The text of the mail to the signers.")
    sign_profile: Annotated[JsonArray, AfterValidator(checked_signers)] = Field(
        description="The signers and approvers.", json_schema_extra={"items": PERSON, "minItems": 1}
    )
    document: Words | None = Field(None, description="A template's id.")
    folder: Words | None = Field(None, description="An existing folder of the creator.")
    remember: Annotated[Number, AfterValidator(_multiple_of_three)] | None = Field(
        None, description="Hours between reminders, a multiple of 3."
    )
    expired_date: Moment | None = Field(None, description="When the process expires: more than 3 days from now.")
    camera: Flag | None = Field(None, description="Whether signers are validated by photo.")
    otp_code: Flag | None = Field(None, description="Whether signers are validated by a one-time code.")
    options: JsonObject | None = Field(None, description="Settings of the identity validation.")
    notification: Flag | None = Field(None, description="Whether participants are notified; by default they are.")
    readers: Annotated[JsonArray, AfterValidator(checked_readers)] | None = Field(
        None, description="Observers, each with name and email.", json_schema_extra={"items": PERSON}
    )
    compress: Flag | None = Field(None, description="Whether the PDF goes by a signed URL; by default large ones do.")
    package_name: Words | None = Field(None, description="Makes the process a package of this name.")
    custom: JsonObject | None = Field(None, description="Data of your own, given back by Auco.")

    def objections(self, filename: str, now: datetime) -> Sequence[tuple[str, str]]:
        """PDF only, an end more than 3 days ahead (guide, creation parameters); what a package excludes."""
        found = []
        if not filename.lower().endswith(".pdf"):
            found.append(("path", "must be a PDF (its name, or `filename`, ends in .pdf): Auco takes nothing else"))
        if self.expired_date is not None and self.expired_date <= now + _EARLIEST_END:
            found.append(("expired_date", "must be more than 3 days from now"))
        if self.package_name is not None:  # vendor's newer docs: SIGNER_NOTIFICATION_NOT_SUPPORTED, and one source
            excluded = [column for column in ("notification", "document") if getattr(self, column) is not None]
            found += [(column, "can't be given together with package_name") for column in excluded]
            if any("notification" in signer for signer in self.sign_profile):
                found.append(("sign_profile", "a signer's notification can't be given together with package_name"))
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
