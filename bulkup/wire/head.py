"""The head of a request, byte for byte (RFC 9112). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from bulkup.transport import CONTROL, Request

_URL = re.compile(r"(https?://[^/?#\x00-\x20\x7f]+)([^#\x00-\x20\x7f]*)(?:#[^\x00-\x20\x7f]*)?", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_MOST_PORT = 65535
_WITHOUT_LENGTH = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Origin(NamedTuple):
    """A server, as a connection is opened to it.

    Attributes:
        tls: it speaks HTTPS.
        host: a name or an address, without brackets.
        authority: what ``Host`` says.
    """

    tls: bool
    host: str
    port: int
    authority: bytes


@lru_cache(256)
def _origin(text: str) -> Origin:
    """The origin at the beginning of a URL; raises ValueError."""
    parts = urlsplit(text)
    if "@" in parts.netloc or not parts.hostname:
        raise ValueError("no host, or credentials in the URL")
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    if not 0 < port <= _MOST_PORT:
        raise ValueError("no such port")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    return Origin(parts.scheme == "https", host, port, authority.encode())


def addressed(url: str) -> tuple[Origin, bytes]:
    """Where a URL leads: the server, and the target for the request line, exactly as it stands.

    Raises:
        ValueError: it makes no sense, or holds credentials.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("no URL")
    start, target = found.groups()
    return _origin(start), (target if target[:1] == "/" else f"/{target}").encode()


def composed(request: Request, origin: Origin, target: bytes) -> bytes:
    """The request line and headers: those given, ``Host``, and the length.

    Raises:
        ValueError: a header makes no sense.
    """
    method, body = request.method, request.body
    rest = _fixed(origin.authority, tuple(request.headers), fresh=request.fresh)
    if body is not None:
        return b"%b %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (method.encode(), target, rest, body.length)
    length = b"" if method in _WITHOUT_LENGTH else b"Content-Length: 0\r\n"  # RFC 9110, 8.6
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), target, rest, length)


@lru_cache(256)
def _fixed(authority: bytes, headers: Sequence[tuple[str, str]], *, fresh: bool) -> bytes:
    """The headers that do not hang on the body; the same ones come again and again. Raises ValueError."""
    lines = [b"Host: %b\r\n" % authority]
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or CONTROL.search(value):
            raise ValueError("no header")
        lines.append(f"{name}: {value}\r\n".encode())
    if fresh:
        lines.append(b"Connection: close\r\n")
    return b"".join(lines)
