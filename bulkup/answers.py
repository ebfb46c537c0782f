"""What an HTTP answer means: pure functions from status, headers and body to a `Failure`, or None for success.

Sources: the vendors' guides for their APIs; for object stores the decision table of the providers' wire contract
(S3 and GCS answers), which looks at the status, then ``<Code>``, then ``<Message>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import unescape

import orjson

from bulkup.model import Again, Failure
from bulkup.schedule import retry_after
from bulkup.secret import scrub

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_WORDS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "server_timeout",
    409: "conflict",
    413: "too_large",
    429: "rate_limited",
}
_LONGEST_ERROR = 1000
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a vendor's error says beyond its status; None: nothing.

    Attributes:
        code: a stable snake_case word for the ledger.
        words: the vendor's own.
        retry_after: seconds it asks to wait.
    """

    code: str | None = None
    words: str | None = None
    retry_after: float | None = None


Explain = Callable[[Mapping[str, str], Mapping[str, object]], Explanation]


def ok(status: int) -> bool:
    """Any 2xx: the guides name no other success."""
    return 200 <= status < 300  # noqa: PLR2004 - the range is the definition


def judge_api(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Iterable[str] = (),
    explain: Explain | None = None,
) -> Failure | None:
    """What a vendor's API said.

    Args:
        status: HTTP status.
        headers: names in lower case.
        body: the answer's bytes, whatever they are.
        secrets: values to take out of the vendor's words.
        explain: reads the vendor's own form of an error.
    """
    if ok(status):
        return None
    transient = status in _TRANSIENT
    said = Explanation() if explain is None else explain(headers, _object(body))
    words = _vendor_words(body, secrets) if said.words is None else scrub(said.words, secrets, _LONGEST_ERROR)
    wait = retry_after(headers.get("retry-after"))
    return Failure(
        code=said.code or _WORDS.get(status) or ("server_error" if status >= _SERVER_ERROR else "rejected"),
        text=_sentence(status, words),
        again=Again.SAME if transient else Again.NEVER,
        answered=True,
        retry_after=(said.retry_after if wait is None else wait) if transient else None,
        status=status,
    )


def _object(body: bytes) -> Mapping[str, object]:
    """The body as a JSON object; empty if it is none."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def judge_store(status: int, headers: Mapping[str, str], body: bytes, secrets: Iterable[str] = ()) -> Failure | None:
    """What an object store said to a presigned PUT or POST.

    Args:
        secrets: values to take out of its words, such as those of a form's fields.
    """
    if ok(status):
        return None
    code, message = _xml(body, "Code"), _xml(body, "Message")
    words = ": ".join(filter(None, (code, message))) or _plain(body)
    expired = code == "ExpiredToken" or (
        code == "AccessDenied" and ("Request has expired" in message or "Policy expired" in message)
    )
    transient = status in _TRANSIENT or code == "RequestTimeout"
    if expired:
        word, again = "url_expired", Again.FRESH
    elif transient:
        told = "rate_limited" if code == "SlowDown" else _WORDS.get(status)
        word, again = told or ("store_error" if status >= _SERVER_ERROR else "store_timeout"), Again.SAME
    elif "not yet valid" in message or code == "RequestTimeTooSkewed":
        word, again = "clock_skew", Again.NEVER
        words += " (is this machine's clock right?)"
    else:
        word, again = "store_refused", Again.NEVER
    return Failure(
        code=word,
        text=_sentence(status, scrub(words, secrets, limit=_LONGEST_ERROR)),
        again=again,
        answered=True,
        retry_after=retry_after(headers.get("retry-after")) if transient else None,
        status=status,
    )


def _sentence(status: int, words: str) -> str:
    return f"HTTP {status}: {words}" if words else f"HTTP {status}"


def _vendor_words(body: bytes, secrets: Iterable[str]) -> str:
    """The message of a JSON error where that is all there is, else the body as it stands."""
    error = _object(body)
    (inner,) = error.values() if len(error) == 1 else (None,)
    return scrub(inner if isinstance(inner, str) else _plain(body), secrets, _LONGEST_ERROR)


_UNSHOWN = "script|style|StringToSign|StringToSignBytes|CanonicalRequest|CanonicalRequestBytes|SignatureProvided"
_MARKUP = re.compile(rf"(?s)<({_UNSHOWN})\b.*?(?:</\1>|\Z)|<[^>]*>")
_READ = 8192


def _plain(body: bytes) -> str:
    text = body[:_READ].decode("utf-8", "replace")
    return _MARKUP.sub(" ", text) if text.lstrip().startswith("<") else text


def _xml(body: bytes, element: str) -> str:
    """The text of the first such element; lenient, since a real answer may be empty or a proxy's HTML."""
    found = re.search(rf"<{element}>([^<]*)</{element}>", body.decode("utf-8", "replace"))
    return unescape(found[1]).strip() if found else ""
