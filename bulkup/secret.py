"""Values that must never be seen: they print redacted, whoever prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
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
        try:
            parts = urlsplit(self.value)
        except ValueError:  # what can't be read is not shown at all
            return ""
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}"

    def safe_beside(self, base_url: str) -> bool:
        """Whether a request may go there: by TLS, or all on this machine, as with a sandbox.

        Args:
            base_url: of the vendor that gave the URL.
        """
        return _scheme(self.value) == "https" or (is_plain_loopback(self.value) and is_plain_loopback(base_url))

    def __repr__(self) -> str:
        return f"SignedUrl({self.origin}/{REDACTED})"

    __str__ = __repr__


def is_plain_loopback(url: str) -> bool:
    """Whether a URL is HTTP without TLS to this very machine: 127.0.0.0/8, ::1 or ``localhost``."""
    if _scheme(url) != "http":
        return False
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # some other name
        return False


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


_URL = re.compile(r"(://)(?:[^/\s\"<>?#]*@)?([^\s\"<>?#]*)([?#][^\s\"<>]*)?")
_QUERY = re.compile(r"[?&][\w.~%-]+=[^\s\"<>]*")
_LONG_WORDS = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_NAMED_SECRETS = re.compile(
    r"(?i)\b((?:x-(?:amz|goog)-[a-z-]+|signature|sig|awsaccesskeyid|[a-z_]*token|password|secret)\s*=\s*)[^\s&\"'<>,;]+"
)
_SHORTEST_SECRET = 4


def scrub(text: str, secrets: Iterable[str] = (), limit: int = 500) -> str:
    """Make foreign words fit to be kept: no URL queries, no credentials, one line, at most ``limit`` characters.

    Args:
        text: anything a vendor answered.
        secrets: values that are known to be secret; each is replaced wherever it stands.
        limit: the longest result, in characters.
    """
    for secret in sorted(secrets, key=len, reverse=True):  # one may be the beginning of another
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
    text = _URL.sub(lambda url: f"{url[1]}{url[2]}?{REDACTED}" if url[3] else f"{url[1]}{url[2]}", text)
    text = _QUERY.sub(f"?{REDACTED}", text)
    text = _NAMED_SECRETS.sub(rf"\1{REDACTED}", text)
    text = _LONG_WORDS.sub(rf"\1 {REDACTED}", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
