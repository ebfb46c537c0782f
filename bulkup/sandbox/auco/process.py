"""The body of a create call: what it must be, by Auco's guide. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import orjson

from bulkup.sandbox.auco.options import AucoOptions
from bulkup.sandbox.steps import RefusedError

_REQUIRED: Final = ("email", "name", "message", "subject", "signProfile")
_KINDS: Final[Mapping[str, type]] = {
    "email": str,
    "document": str,
    "name": str,
    "message": str,
    "subject": str,
    "file": str,
    "compress": bool,
    "folder": str,
    "remember": int,
    "expiredDate": str,
    "camera": bool,
    "otpCode": bool,
    "options": dict,
    "notification": bool,
    "readers": list,
    "signProfile": list,
    "packageName": str,
    "custom": dict,
    "code": str,
    "targetWebhooks": list,
    "tags": list,
}
_SIGNER: Final[Mapping[str, type]] = {
    "name": str,
    "email": str,
    "phone": str,
    "role": str,
    "label": bool,
    "position": list,
    "options": dict,
    "camera": bool,
    "otpCode": bool,
    "both": bool,
}
_JSON_DATE: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"
_DAYS: Final = 3


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
    if extra := sorted(given.keys() - _KINDS.keys()):
        refuse(f"unknown: {', '.join(extra)}")
    for name in _REQUIRED:
        if not given.get(name):
            refuse(f"{name} is required")
    _check_kinds(given, _KINDS, "")
    _check_signers(given["signProfile"], options)
    _check_readers(given.get("readers", []))
    _check_schedule(given, now)
    if options.folders is not None and given.get("folder", None) not in {None, *options.folders}:
        refuse(f"there is no folder {given['folder']}", breach=False)
    if options.strict and "options" in given and not (given.get("camera") or given.get("otpCode")):
        refuse("options need camera or otpCode")
    _check_source(given, package=package)
    return given, _pdf(given["file"], options) if "file" in given else None


def _check_source(given: Mapping[str, Any], *, package: bool) -> None:
    """Where the PDF comes from."""
    sources = [name for name in ("file", "compress") if given.get(name)]
    if package:
        sources += ["document"] if given.get("document") else []
        if not given.get("packageName"):
            refuse("packageName is required")
        if "notification" in given:
            refuse("notification is not supported here", "SIGNER_NOTIFICATION_NOT_SUPPORTED")
    elif "packageName" in given:
        refuse("packageName belongs to /package/upload")
    if len(sources) > 1:
        refuse(f"{' and '.join(sources)} exclude each other")
    if not sources and not package and not given.get("document"):
        refuse("file, compress or document is required")


def _check_kinds(given: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> None:
    for name, kind in kinds.items():
        if name in given and (not isinstance(given[name], kind) or (kind is int and isinstance(given[name], bool))):
            refuse(f"{where}{name} must be {kind.__name__}")


def _check_signers(signers: list[Any], options: AucoOptions) -> None:
    emails, phones = set(), set()
    for number, signer in enumerate(signers):
        where = f"signProfile[{number}]."
        if not isinstance(signer, dict):
            refuse(f"signProfile[{number}] must be an object")
        for name in ("name", "email", *(["phone"] if options.strict else [])):
            if not signer.get(name):
                refuse(f"{where}{name} is required")
        _check_kinds(signer, _SIGNER, where)
        if signer.get("role", "SIGNER") not in ("APPROVER", "SIGNER"):
            refuse(f"{where}role must be APPROVER or SIGNER")
        if options.strict and "options" in signer and not (signer.get("camera") or signer.get("otpCode")):
            refuse(f"{where}options need camera or otpCode")
        email, phone = signer["email"].casefold(), re.sub(r"\D", "", signer.get("phone", ""))
        if email in emails or "@" not in email or " " in email:
            refuse(f"{where}email is repeated or makes no sense")
        if phone and phone in phones:
            refuse(f"{where}phone is repeated")
        emails.add(email)
        phones.add(phone)


def _check_readers(readers: list[Any]) -> None:
    for reader in readers:
        if not isinstance(reader, dict) or not reader.get("name") or not reader.get("email"):
            refuse("each reader needs name and email")


def _check_schedule(given: Mapping[str, Any], now: float) -> None:
    """When signers are reminded, and when the process ends."""
    remember = given.get("remember", 3)
    if remember <= 0 or remember % 3:
        refuse("remember must be a multiple of 3")
    if "expiredDate" in given:
        _check_end(given["expiredDate"], now)


def _check_end(value: str, now: float) -> None:
    if not re.fullmatch(_JSON_DATE, value):
        refuse("expiredDate must be a JSON date")
    if datetime.fromisoformat(value) <= datetime.fromtimestamp(now, UTC) + timedelta(days=_DAYS):
        refuse("expiredDate must be more than 3 days ahead")


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


def refuse(words: str, code: str = "VALIDATION_ERROR", *, breach: bool = True) -> NoReturn:
    """Auco answers 400 for whatever does not meet its conditions."""
    raise RefusedError(400, words, {"code": code}, breach)
