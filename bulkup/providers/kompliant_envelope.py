"""Kompliant's envelope: ``meta`` with ``data`` or ``errors``; the guide's samples leave it out. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence

from bulkup.answers import Explanation
from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.providers.base import Json, unreadable
from bulkup.providers.reading import mapping, objects, text
from bulkup.secret import scrub

_SHA256_HEX, _SHA256_BASE64 = re.compile(r"[0-9a-fA-F]{64}"), re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_DUPLICATE = re.compile(r"DUPLICATE|ALREADY[ _](BEEN[ _])?(EXIST|LINKED|ADDED|FULFIL)|FULFILLMENT[ _]EXISTS")


def opened(answer: Json, secrets: Iterable[str] = ()) -> Json:
    """What an answer with HTTP 200 holds, with or without an envelope.

    Args:
        answer: its body.
        secrets: values to take out of the vendor's words.

    Raises:
        StepError: the vendor refused: success takes HTTP 200 *and* ``meta.status`` ``SUCCESS``.
    """
    status = text(mapping(answer.get("meta")).get("status"))
    if (status or "SUCCESS").upper() != "SUCCESS" or (objects(answer.get("errors")) and "data" not in answer):
        said = explained(answer)
        words = scrub(said.words or f"meta.status is {status}{_trace(answer)}", secrets)
        raise StepError(Failure(said.code or "rejected", words, answered=True, status=200))
    return mapping(answer.get("data", answer))


def document(inner: Json) -> Json:
    """The document of an opened answer."""
    return mapping(inner.get("document")) or inner


def listed(inner: Json, name: str) -> list[Json]:
    """A list of an opened answer.

    Raises:
        StepError: ``unreadable_answer``: to take it for an empty list would do everything again.
    """
    if not isinstance(inner.get(name), list):
        raise unreadable(f"the answer has no list {name!r}")
    return objects(inner[name])


def lists(inner: object) -> list[object]:
    """The lists of an answer, for those whose name is not published."""
    return [value for value in (inner, *mapping(inner).values()) if isinstance(value, list)]


def explained(error: Json) -> Explanation:
    """Codes and messages of a refusal, and the trace id."""
    errors = objects(error.get("errors"))
    words = "; ".join(": ".join(filter(None, (_codes(each), text(each.get("message"))))) for each in errors)
    missing = any(text(each.get("code")) == "ENTITY_NOT_FOUND" for each in errors)
    return Explanation(code="not_found" if missing else None, words=words + _trace(error) if words else None)


def linked(answer: Json, required_ids: Sequence[str]) -> dict[str, str | None]:
    """What a batch's answer says of each required document: why it was refused, or None: it is linked.

    The guide has flat fulfillments, the vendor's docs have results with ``request``, ``status``, and ``data`` or
    ``errors``; the name of their list and the exact nesting are not published. An item that says neither is left out,
    and so is a required document that no item is about. An item without an id is taken by its place.
    """
    items = [item for value in lists(answer.get("data", answer)) for item in objects(value)]
    said: dict[str, str | None] = {}
    for place, item in enumerate(items):
        id_ = _required_id(item) or (required_ids[place] if len(items) == len(required_ids) else None)
        errors = objects(item.get("errors"))
        status = (text(item.get("status")) or "").upper()
        if id_ is None:
            continue
        if errors and all(_is_duplicate(error) for error in errors):
            said[id_] = None
        elif errors or status == "ERROR":
            said[id_] = explained(item).words or "refused without a reason"
        elif status == "SUCCESS" or (not status and "fulfillment_id" in item):
            said[id_] = None
    return said


def digest(value: str | None) -> str | None:
    """A SHA-256 in hexadecimal, from hexadecimal or base64 (RFC 4648, either alphabet); None if it is neither."""
    value = value or ""
    if _SHA256_HEX.fullmatch(value):
        return value.lower()
    if not _SHA256_BASE64.fullmatch(value):
        return None
    return base64.urlsafe_b64decode(value.replace("+", "-").replace("/", "_").rstrip("=") + "=").hex()


def _is_duplicate(error: Json) -> bool:
    """Whether an error says that this link was there before; the vendor's word for it is not published."""
    said = " ".join(filter(None, (_codes(error), text(error.get("message"))))).upper()
    return _DUPLICATE.search(said) is not None


def _required_id(item: Json, depth: int = 8) -> str | None:
    """Which required document an item is about, wherever in it that stands, down to some depth."""
    inside = (_required_id(value, depth - 1) for value in item.values() if depth and isinstance(value, dict))
    return text(item.get("required_document_id")) or next(filter(None, inside), None)


def _codes(error: Json) -> str:
    return " ".join(word for name in ("code", "sub_code") if (word := text(error.get(name))))


def _trace(answer: Json) -> str:
    trace = text(mapping(answer.get("meta")).get("trace_id"))
    return f" (trace id {trace})" if trace else ""
