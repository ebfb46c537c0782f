"""Signed URLs: what is signed, and whether a request is what was signed. Pure; the clock's time is an argument.

AWS Signature Version 4, in the query: a real S3 server takes these URLs too. The path and query are signed as they go
over the wire: a URL that was re-encoded on its way no longer fits, nor does one with another Content-Type.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

_SIGNATURE: Final = "&X-Amz-Signature="
_UNTIL: Final = "&X-Sandbox-Until="
_FREE: Final = "&X-Amz-SignedHeaders=host&"
_PARTS: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
ACCESS_KEY: Final = "EXAMPLEKEYID"
_REGION: Final = "us-east-1"


class Verdict(Enum):
    """What a store finds of a request to a signed URL."""

    GOOD = auto()
    INCOMPLETE = auto()
    MISMATCH = auto()
    EXPIRED = auto()


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks signatures.

    Args:
        secret: the secret access key.
        access_key: its id.
    """

    secret: str = field(repr=False)
    access_key: str = ACCESS_KEY

    def sign(
        self,
        method: str,
        url: str,
        content_type: str,
        now: float,
        life: float,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """Sign a request.

        Args:
            method: the HTTP method.
            url: the URL without a query, its path encoded.
            content_type: the Content-Type that must come; empty: any may.
            now: when it is signed, as a Unix time in seconds.
            life: how long the URL is good, in seconds.
            query: more of the query, in lower case.

        Returns:
            The URL with its signed query.
        """
        date = datetime.fromtimestamp(now, UTC)
        headers = "content-type%3Bhost" if content_type else "host"
        scope = quote(f"{self.access_key}/{self.scope(now)}", safe="")
        signed = (
            f"{url}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}"
            f"&X-Amz-Date={date:%Y%m%dT%H%M%SZ}&X-Amz-Expires={max(1, round(life))}&X-Amz-SignedHeaders={headers}"
            f"{_UNTIL}{int((now + life) * 1000)}"
        )
        signed += "".join(f"&{name}={quote(value, safe='')}" for name, value in sorted((query or {}).items()))
        return f"{signed}{_SIGNATURE}{self._signature(method, signed, content_type)}"

    def check(self, method: str, url: str, content_type: str, now: float) -> Verdict:
        """Judge a request; arguments as for `sign`, ``url`` with path and query as they came."""
        signed, _, signature = url.rpartition(_SIGNATURE)
        if _FREE in signed:
            content_type = ""
        given = parse_qs(urlsplit(url).query)
        if not all(part in given for part in _PARTS):
            return Verdict.INCOMPLETE
        if not hmac.compare_digest(signature.encode(), self._signature(method, signed, content_type).encode()):
            return Verdict.MISMATCH
        return Verdict.GOOD if now * 1000 <= until(url) * 1000 else Verdict.EXPIRED

    def scope(self, now: float) -> str:
        """What a signing key of this day is good for."""
        return f"{datetime.fromtimestamp(now, UTC):%Y%m%d}/{_REGION}/s3/aws4_request"

    def digest(self, scope: str, text: str) -> str:
        """The signature of a text, by the signing key of a scope."""
        key = b"AWS4" + self.secret.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    def _signature(self, method: str, signed: str, content_type: str) -> str:
        """Of the canonical request, whose query is everything before the signature."""
        parts = urlsplit(signed)
        given = parse_qs(parts.query)
        date, credential = (given.get(name, [""])[0] for name in ("X-Amz-Date", "X-Amz-Credential"))
        names = "content-type;host" if content_type else "host"
        lines = [f"content-type:{content_type}"] if content_type else []
        lines.append(f"host:{parts.netloc}")
        canonical = "\n".join((method, parts.path, parts.query, *lines, "", names, "UNSIGNED-PAYLOAD"))
        scope = credential.partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return self.digest(scope, f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}")


def until(target: str) -> float:
    """When a signed URL expires, as a Unix time in seconds."""
    return int(target.rpartition(_UNTIL)[2].partition("&")[0]) / 1000
