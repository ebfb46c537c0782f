"""Values that must never be seen: they print redacted, whoever prints them."""

from __future__ import annotations

import base64
import html
import json
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import quote, quote_plus, unquote, urlsplit

REDACTED = "***"

PUBLIC_FIELDS = frozenset({"content-type", "x-amz-algorithm", "x-amz-expires", "x-amz-signedheaders"})
"""What may be shown of a signed request."""


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
        start = _AUTHORITY.match(self.value)  # the same of all the URLs of a store, so what follows is done once
        return _origin(self.value if start is None else start[0])

    @property
    def secrets(self) -> frozenset[str]:
        """The values of its query that nobody may see, as they stand there and decoded."""
        try:
            pairs = [pair.partition("=") for pair in urlsplit(self.value).query.split("&")]
        except ValueError:
            return frozenset()
        raw = [value for name, _, value in pairs if name.lower() not in PUBLIC_FIELDS]
        return frozenset([*raw, *map(unquote, raw)])

    def safe_beside(self, base_url: str) -> bool:
        """Whether a request may go there: by TLS, or all on this machine, as with a sandbox.

        Args:
            base_url: of the vendor that gave the URL.
        """
        origin = self.origin
        return origin.startswith("https://") or (is_plain_loopback(origin) and is_plain_loopback(base_url))

    def __repr__(self) -> str:
        return f"SignedUrl({self.origin}/{REDACTED})"

    __str__ = __repr__


_AUTHORITY = re.compile(r"[^/?#]*//[^/?#]*")


@lru_cache(256)
def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # what can't be read is not shown at all
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@lru_cache(256)
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
    r"(?i)\b((?:x-(?:amz|goog)-[a-z-]{1,64}|signature|sig|awsaccesskeyid|[a-z_]*token|password|secret)\s*=\s*)[^\s&\"'<>,;]+"
)
_SHORTEST_SECRET = 4


_BASE64 = string.ascii_letters + string.digits + "+/-_="
_URL_SAFE = str.maketrans("+/", "-_")


def _forms(secret: str) -> Iterable[str]:
    """What a value looks like, as it is and in the usual disguises."""
    once = quote(secret, safe="")
    escaped = {
        secret,
        once,
        quote(secret),
        quote(once),
        quote_plus(secret),
        html.escape(secret),
        json.dumps(secret)[1:-1],
    }
    lower = {re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in escaped}
    in_hex = secret.encode("utf-8", "replace").hex()
    return sorted({*escaped, *lower, in_hex, in_hex.upper()}, key=len, reverse=True)


def _cores(secret: str) -> set[str]:
    """What is the same of a value in base64 (RFC 4648, both alphabets), wherever it stands in what was encoded."""
    found: set[str] = set()
    for form in {secret, quote(secret, safe="")}:
        for shift in range(3):
            data = b" " * shift + form.encode("utf-8", "replace")
            whole = base64.b64encode(data).decode().rstrip("=")
            core = whole[-(-shift * 4 // 3) : len(whole) if len(data) % 3 == 0 else -1]
            found |= {core, core.translate(_URL_SAFE)}
    return {core for core in found if len(core) >= _SHORTEST_SECRET}


def _without_words(text: str, core: str) -> str:
    """The text with each word of base64 that has this in it replaced."""
    first, *others = text.split(core)
    for part in others:
        first = f"{first.rstrip(_BASE64)}{REDACTED}{part.lstrip(_BASE64)}"
    return first


def scrub(text: str, secrets: Iterable[str] = (), limit: int = 500) -> str:
    """Make foreign words fit to be kept: no URL queries, no credentials, one line, at most ``limit`` characters.

    Args:
        text: anything a vendor answered.
        secrets: values that are known to be secret; each is replaced wherever it stands, also percent-encoded, escaped,
            in hexadecimal, or inside of something in base64.
        limit: the longest result, in characters.
    """
    for secret in sorted(secrets, key=len, reverse=True):  # one may be the beginning of another
        if len(secret) >= _SHORTEST_SECRET:
            for form in _forms(secret):
                text = text.replace(form, REDACTED)
            for core in _cores(secret):
                text = _without_words(text, core)
    text = _URL.sub(lambda url: f"{url[1]}{url[2]}?{REDACTED}" if url[3] else f"{url[1]}{url[2]}", text)
    text = _QUERY.sub(f"?{REDACTED}", text)
    text = _NAMED_SECRETS.sub(rf"\1{REDACTED}", text)
    text = _LONG_WORDS.sub(rf"\1 {REDACTED}", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
