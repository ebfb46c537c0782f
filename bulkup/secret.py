"""Values that must never be seen: they print redacted, whoever prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

REDACTED = "***"


@dataclass(frozen=True, slots=True, repr=False)
class SignedUrl:
    """A presigned URL: whoever holds it may write (or read) the object, so only its origin is ever shown.

    Args:
        value: the URL exactly as the vendor gave it; not one byte of it may change, or the signature breaks.
    """

    value: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, the part that is safe to show."""
        parts = urlsplit(self.value)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}"

    def __repr__(self) -> str:
        return f"SignedUrl({self.origin}/{REDACTED})"

    __str__ = __repr__


_URL_SECRETS = re.compile(r"(?i)\b(https?://)(?:[^/\s\"'<>@]*@)?([^/\s\"'<>?#]*)([^\s\"'<>?#]*)[?#][^\s\"'<>]*")
_LONG_WORDS = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_SHORTEST_SECRET = 4


def scrub(text: str, secrets: Iterable[str] = (), limit: int = 500) -> str:
    """Make foreign words fit to be kept: no URL queries, no credentials, one line, at most ``limit`` characters.

    Args:
        text: anything a vendor answered.
        secrets: values that are known to be secret; each is replaced wherever it stands.
        limit: the longest result, in characters.
    """
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
    text = _URL_SECRETS.sub(rf"\1\2\3?{REDACTED}", text)
    text = _LONG_WORDS.sub(rf"\1 {REDACTED}", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
