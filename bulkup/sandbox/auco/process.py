"""The body of a create call: what it must be, by Auco's guide. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from bulkup.sandbox.auco.fields import Kinds, check_email, check_fields, refuse
from bulkup.sandbox.auco.options import AucoOptions
from bulkup.sandbox.auco.people import check_readers, check_signers, check_validations

_REQUIRED: Final = ("email", "name", "message", "subject", "signProfile")
_FIELDS: Final[Kinds] = {
    "email": "String",
    "document": "String",
    "name": "String",
    "message": "String",
    "subject": "String",
    "file": "String",
    "compress": "Boolean",
    "folder": "String",
    "remember": "Number",
    "expiredDate": "Date",
    "camera": "Boolean",
    "otpCode": "Boolean",
    "options": "Object",
    "notification": "Boolean",
    "readers": "Array",
    "signProfile": "Array",
    "packageName": "String",  # in a sample of the guide, not in its table
}
_NEWER: Final[Kinds] = {"custom": "Object", "code": "String", "targetWebhooks": "Array", "tags": "Array"}
_JSON_DATE: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"
_EARLIEST_END: Final = timedelta(days=3)


def parse(body: bytes, options: AucoOptions, now: float, *, package: bool) -> tuple[dict[str, Any], bytes | None]:
    """Read a create call.

    Args:
        body: as it came.
        options: the switches.
        now: the time, as a Unix time in seconds.
        package: it came to ``/package/upload``.

    Returns:
        Its fields, and the PDF that came along, if one did.

    Raises:
        RefusedError: 400, with the rule that it breaks.
    """
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        refuse("the body is not valid JSON")
    if not isinstance(given, dict):
        refuse("the body must be a JSON object")
    check_fields(given, {**_FIELDS, **_NEWER} if options.newer_fields else _FIELDS, _REQUIRED)
    check_email(given)
    check_signers(given["signProfile"], options, package=package)
    check_readers(given.get("readers", []))
    _check_schedule(given, now)
    if options.folders is not None and "folder" in given and given["folder"] not in options.folders:
        refuse(f"there is no folder {given['folder']}", breach=False)
    if options.strict:
        check_validations(given)
    _check_source(given, package=package)
    return given, _pdf(given["file"], options) if "file" in given else None


def _check_source(given: Mapping[str, Any], *, package: bool) -> None:
    """Where the PDF comes from."""
    sources = [name for name in ("file", "compress") if name in given and given[name] is not False]
    if package:
        sources += ["document"] if "document" in given else []
        if not given.get("packageName"):
            refuse("packageName is required")
        if "notification" in given:
            refuse("notification is not supported here", "SIGNER_NOTIFICATION_NOT_SUPPORTED")
    elif "packageName" in given:
        refuse("packageName belongs to /package/upload")
    if len(sources) > 1:
        refuse(f"{' and '.join(sources)} exclude each other")
    if not sources and not package and "document" not in given:
        refuse("file, compress or document is required")


def _check_schedule(given: Mapping[str, Any], now: float) -> None:
    """When signers are reminded, and when the process ends."""
    remember = given.get("remember", 3)
    if remember <= 0 or remember % 3:
        refuse("remember must be a multiple of 3")
    if "expiredDate" in given:
        end = _moment(given["expiredDate"])
        if end is None:
            refuse("expiredDate must be a JSON date")
        if end <= datetime.fromtimestamp(now, UTC) + _EARLIEST_END:
            refuse("expiredDate must be more than 3 days ahead")


def _moment(value: str) -> datetime | None:
    """A date as JSON has it: that of JavaScript's ``Date.toJSON``."""
    try:
        return datetime.fromisoformat(value) if re.fullmatch(_JSON_DATE, value) else None
    except ValueError:
        return None


def _pdf(value: str, options: AucoOptions) -> bytes:
    try:
        content = base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        refuse("file must be base64")
    if len(content) > options.max_inline:
        refuse("file is too large: use compress", breach=False)
    if options.check_pdf and not content.startswith(b"%PDF-"):
        refuse("file must be a PDF")
    return content
