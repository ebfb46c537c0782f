"""Signed URLs: what is signed, and whether a request is what was signed. Pure; the clock's time is an argument.

The parts of the query have the names that S3 gives them. The signature is an HMAC of the method, the path and query as
they went over the wire, and the Content-Type: a URL that was re-encoded on its way no longer fits, nor does one with
another Content-Type.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final
from urllib.parse import parse_qs

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


class Verdict(Enum):
    """What a store finds of a request to a signed URL."""

    GOOD = auto()
    INCOMPLETE = auto()
    MISMATCH = auto()
    EXPIRED = auto()


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks signed URLs.

    Args:
        secret: the key of the HMAC.
    """

    secret: bytes

    def sign(self, method: str, path: str, content_type: str, now: float, life: float) -> str:
        """Sign a request.

        Args:
            method: the HTTP method.
            path: the path, encoded.
            content_type: the Content-Type that must come; empty: any may.
            now: when it is signed, as a Unix time in seconds.
            life: how long the URL is good, in seconds.

        Returns:
            The path with its signed query.
        """
        date = datetime.fromtimestamp(now, UTC)
        headers = "content-type%3Bhost" if content_type else "host"
        signed = (
            f"{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential={ACCESS_KEY}%2F{date:%Y%m%d}%2Fsandbox%2Fs3%2Faws4_request"
            f"&X-Amz-Date={date:%Y%m%dT%H%M%SZ}&X-Amz-Expires={max(1, round(life))}&X-Amz-SignedHeaders={headers}"
            f"{_UNTIL}{int((now + life) * 1000)}"
        )
        return f"{signed}{_SIGNATURE}{self._digest(method, signed, content_type)}"

    def check(self, method: str, target: str, content_type: str, now: float) -> Verdict:
        """Judge a request; arguments as for `sign`, ``target`` being path and query as they came."""
        signed, _, signature = target.rpartition(_SIGNATURE)
        if _FREE in signed:
            content_type = ""
        if not hmac.compare_digest(signature.encode(), self._digest(method, signed, content_type).encode()):
            given = parse_qs(target.partition("?")[2])
            return Verdict.MISMATCH if all(part in given for part in _PARTS) else Verdict.INCOMPLETE
        return Verdict.GOOD if now * 1000 <= until(target) * 1000 else Verdict.EXPIRED

    def _digest(self, method: str, signed: str, content_type: str) -> str:
        return hmac.digest(self.secret, f"{method}\n{signed}\n{content_type}".encode(), "sha256").hex()


def until(target: str) -> float:
    """When a signed URL expires, as a Unix time in seconds."""
    return int(target.rpartition(_UNTIL)[2].partition("&")[0]) / 1000
