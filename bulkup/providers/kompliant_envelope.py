"""Kompliant's envelope: ``meta`` with ``data`` or ``errors``; the guide's samples leave it out. Pure."""

from __future__ import annotations

import base64
import binascii

from bulkup.answers import Explanation
from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.providers.base import Answer, Json
from bulkup.providers.reading import mapping, objects, text

_SHA256_HEX, _SHA256_BYTES = 64, 32
_DUPLICATE = ("DUPLICATE", "ALREADY", "EXISTS")


def data(answer: Answer) -> Json:
    """What an answer holds, with or without an envelope.

    Raises:
        StepError: success takes HTTP 200 *and* ``meta.status`` ``SUCCESS``; or the answer can't be read.
    """
    json = answer.object()
    status = text(mapping(json.get("meta")).get("status"))
    if (status or "SUCCESS").upper() != "SUCCESS":
        said = explained(json)
        words = said.words or f"meta.status is {status}"
        raise StepError(Failure(said.code or "rejected", words, answered=True, status=answer.status))
    inner = json.get("data", json)
    return {"items": inner} if isinstance(inner, list) else mapping(inner)


def explained(error: Json) -> Explanation:
    """Codes and messages of a refusal, and the trace id."""
    errors = objects(error.get("errors"))
    words = "; ".join(": ".join(filter(None, (_codes(each), text(each.get("message"))))) for each in errors)
    trace = text(mapping(error.get("meta")).get("trace_id"))
    missing = any(text(each.get("code")) == "ENTITY_NOT_FOUND" for each in errors)
    return Explanation(
        code="not_found" if missing else None,
        words=f"{words} (trace id {trace})" if words and trace else words or None,
    )


def refusal(item: Json) -> str | None:
    """Why an item of a batch's answer was refused; None: it was not, or it was done before."""
    errors = objects(item.get("errors"))
    if any(is_duplicate(error) for error in errors):
        return None
    if errors or (text(item.get("status")) or "").upper() == "ERROR":
        return explained(item).words or "refused without a reason"
    return None


def is_duplicate(error: Json) -> bool:
    """Whether an error says that this was done before; the vendor's word for it is not published."""
    said = " ".join(filter(None, (_codes(error), text(error.get("message"))))).upper()
    return any(word in said for word in _DUPLICATE)


def digest(value: str | None) -> str | None:
    """A SHA-256 in hexadecimal, from hexadecimal or base64; None if it is neither."""
    try:
        raw = bytes.fromhex(value or "") if len(value or "") == _SHA256_HEX else base64.b64decode(value or "")
    except (ValueError, binascii.Error):
        return None
    return raw.hex() if len(raw) == _SHA256_BYTES else None


def _codes(error: Json) -> str:
    return " ".join(word for name in ("code", "sub_code") if (word := text(error.get(name))))
