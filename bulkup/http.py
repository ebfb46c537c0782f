"""HTTP, by aiohttp: the only module of the client side that knows the library.

What it guards against, each measured with aiohttp 3.14:

* a string URL is re-encoded, which breaks signatures: ``yarl.URL(url, encoded=True)``; redirects are not followed;
* a ``bytes`` body of a PUT is silently sent twice when the server drops a kept-alive connection: bodies go out as an
  async generator with an explicit ``Content-Length`` (without one it would go out chunked, which S3 answers with 501);
* the library adds headers of its own: all are switched off; cookies and ``.netrc`` are never used;
* a total timeout of 300 s: replaced by deadlines that move with each byte.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
import anyio
import anyio.lowlevel
from yarl import URL

from bulkup.errors import StepError
from bulkup.model import Again, Failure

Chunks = Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a request, as a fresh stream for each attempt.

    Attributes:
        length: how many bytes there will be, exactly.
        chunks: starts the stream.
    """

    length: int
    chunks: Chunks = field(repr=False)


def body_of(data: bytes) -> Body:
    """A body that is in memory already."""

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    return Body(len(data), chunks)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    Attributes:
        url: sent exactly as it stands; may be signed, so it is hidden.
        headers: exactly these, besides ``Host`` and ``Content-Length``.
        fresh: over a new connection, which is closed afterwards.
        most: the longest body of its answer, in bytes; a longer one counts as lost.
    """

    method: str
    url: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: Body | None = None
    fresh: bool = False
    most: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines of one exchange, in seconds.

    Attributes:
        connect: until a connection stands.
        answer: for an answer, from the last byte sent.
        stall: without a byte moving.
    """

    connect: float = 10.0
    answer: float = 30.0
    stall: float = 30.0


class Transport(Protocol):
    """Carries requests; a fake of it is a few lines."""

    async def send(self, request: Request, limits: Limits) -> Response:
        """One request, one answer, never repeated.

        Raises:
            StepError: ``unreachable`` when it surely never left, ``no_answer`` when an answer never came.
        """

    def stream(self, request: Request, limits: Limits) -> AbstractAsyncContextManager[Stream]:
        """A request whose answer has no end; an error status arrives as an empty stream with its body read."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is read as it comes.

    Attributes:
        response: status and headers; the body only if the status is an error.
        chunks: the bytes; raises `StepError` when the connection breaks or nothing comes for ``limits.stall``.
    """

    response: Response
    chunks: AsyncIterator[bytes]


_MOST_OF_AN_ERROR = 64 * 1024
_PIECE = 128 * 1024
_ERROR = 300
_SLOWEST, _PATIENCE = 1024, 60.0
"""Bytes a second, and seconds to begin with: an answer that comes more slowly is given up, or it might never end."""

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may hold (RFC 9110, 5.5): vendors' answers become headers of ours."""
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f]")


def trusting(authorities: Path | None = None) -> ssl.SSLContext:
    """TLS that always verifies certificate and host name.

    Args:
        authorities: a file of certificates in PEM form, trusted besides the system's (or those that ``SSL_CERT_FILE``
            and ``SSL_CERT_DIR`` name instead of them).

    Raises:
        ValueError: the file can't be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    if authorities is not None:
        alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            alone.load_verify_locations(authorities)
            context.load_verify_locations(authorities)
        except ssl.SSLError:
            raise ValueError(f"{str(authorities)!r} holds no certificate in PEM form") from None
        except OSError as error:
            raise ValueError(f"can't read {str(authorities)!r}: {error.strerror}") from None
        if not alone.cert_store_stats()["x509"]:  # a list of revoked ones, perhaps
            raise ValueError(f"{str(authorities)!r} holds no certificate in PEM form")
    return context


class Http:
    """The real `Transport`. Open it with ``async with``.

    Args:
        tls: from `trusting`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or trusting()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(self._open_session(keepalive_timeout=15))
            self._fresh = await stack.enter_async_context(self._open_session(force_close=True))
            self._sessions = stack.pop_all()
        return self

    def _open_session(self, **connections: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, socket_factory=_socket, **connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=256 * 1024,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sessions.aclose()

    async def send(self, request: Request, limits: Limits) -> Response:
        """See `Transport.send`."""
        with _translated(), anyio.CancelScope() as scope:
            body = request.body
            scope.deadline = anyio.current_time() + limits.connect + (limits.stall if body else limits.answer)
            sent = _Sent(complete=body is None or body.length == 0)
            data = None if body is None else _moving(body, scope, limits, sent)
            async with await self._open(request, data, limits) as answer:
                scope.deadline = anyio.current_time() + limits.answer
                content = (
                    await _whole(answer, scope, limits, request.most) if answer.status < _ERROR else await _head(answer)
                )
                if not sent.complete:
                    # an early refusal: the connection still waits for the rest of the body
                    answer.close()
                    if answer.status < _ERROR:
                        raise _no_answer(f"HTTP {answer.status} came before all bytes were sent, so it proves nothing")
                return Response(answer.status, _lower(answer), content)
        raise _no_answer(f"no answer within {limits.answer:g} s" if sent.complete else "no byte moved in time")

    @asynccontextmanager
    async def stream(self, request: Request, limits: Limits) -> AsyncIterator[Stream]:
        """See `Transport.stream`."""
        answer: aiohttp.ClientResponse | None = None
        with _translated(), anyio.move_on_after(limits.connect + limits.answer):
            answer = await self._open(request, None, limits)
        if answer is None:
            raise _no_answer(f"no answer within {limits.answer:g} s")
        try:
            if answer.status >= _ERROR:
                content = b""
                with _translated(), anyio.move_on_after(limits.answer):
                    content = await _head(answer)
                yield Stream(Response(answer.status, _lower(answer), content), _nothing())
            else:
                yield Stream(Response(answer.status, _lower(answer), b""), _read_on(answer, limits.stall))
        finally:
            answer.close()

    async def _open(
        self, request: Request, data: AsyncIterator[bytes] | None, limits: Limits
    ) -> aiohttp.ClientResponse:
        url, headers = URL(request.url, encoded=True), list(request.headers)
        if _NOT_IN_A_URL.search(request.url) or url.raw_user is not None or url.raw_password is not None:
            raise ValueError(request.method)  # the library would drop line ends, and make credentials of user info
        if url.scheme not in {"http", "https"}:
            raise ValueError(request.method)  # the library takes none for http
        if any(CONTROL.search(part) for header in headers for part in header):
            raise ValueError(request.method)
        if request.body is not None:
            headers.append(("Content-Length", str(request.body.length)))
        return await (self._fresh if request.fresh else self._session).request(
            request.method,
            url,
            headers=headers,
            data=data,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect),
        )


_UNSENT = 128 * 1024
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", {"linux": 25, "darwin": 0x201}.get(sys.platform))


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket whose kernel buffer holds little that is not on its way: else megabytes in it look like a stall."""
    made = socket.socket(*address[:3])
    made.setblocking(False)  # noqa: FBT003 - the standard library's signature
    if _TCP_NOTSENT_LOWAT is not None:
        made.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT)
    return made


@dataclass(slots=True)
class _Sent:
    complete: bool


async def _moving(body: Body, scope: anyio.CancelScope, limits: Limits, sent: _Sent) -> AsyncIterator[bytes]:
    """The body in pieces, moving the deadline on as each is taken: on a slow line a whole chunk would be a stall."""
    left = body.length
    async for chunk in body.chunks():
        for start in range(0, len(chunk), _PIECE):
            if left < body.length:
                # an answer that came is read before a write can fail, since a refusal often closes the connection:
                # the event loop looks at its sockets in the first round and reads them by the end of the second
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
            piece = chunk[start : start + _PIECE]
            scope.deadline = anyio.current_time() + limits.stall
            yield piece
            left -= len(piece)
            if left <= 0:
                sent.complete = True
                scope.deadline = anyio.current_time() + limits.answer


async def _whole(answer: aiohttp.ClientResponse, scope: anyio.CancelScope, limits: Limits, most: int) -> bytes:
    """The answer's body, which may be a large document: the deadline moves with its bytes, unless they trickle."""
    parts: list[bytes] = []
    ends, length = scope.deadline + _PATIENCE, 0
    while part := await answer.content.readany():
        parts.append(part)
        length += len(part)
        if length > most:
            answer.close()
            raise _no_answer(f"the answer is longer than {most} bytes")
        scope.deadline = min(anyio.current_time() + limits.stall, ends + length / _SLOWEST)
    return b"".join(parts)


async def _read_on(answer: aiohttp.ClientResponse, stall: float) -> AsyncIterator[bytes]:
    while True:
        chunk: bytes | None = None
        with _translated(), anyio.move_on_after(stall):
            chunk = await answer.content.readany()
        if chunk is None:
            raise _no_answer(f"the stream was silent for {stall:g} s")
        if not chunk:
            return
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _head(answer: aiohttp.ClientResponse) -> bytes:
    """As much of an error's body as anybody reads; the connection is given up if there is more."""
    parts: list[bytes] = []
    length = 0
    while length < _MOST_OF_AN_ERROR:
        chunk = await answer.content.readany()
        if not chunk:
            return b"".join(parts)
        parts.append(chunk)
        length += len(chunk)
    answer.close()
    return b"".join(parts)


def _lower(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _no_answer(text: str) -> StepError:
    return StepError(Failure("no_answer", text, Again.SAME))


_UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
"""OpenSSL's ``X509_V_ERR_...`` of a certificate, or chain, that nobody known has signed."""


def _issuer_unknown(error: Exception) -> bool:
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _UNKNOWN_ISSUER


class _translated:  # noqa: N801 - reads as a context manager
    """Turns every error of the library into a `StepError`, without the URLs that its texts and causes carry."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        match error:
            case None | StepError():
                return
            case aiohttp.ClientConnectorCertificateError() as refused:
                reason = getattr(refused.certificate_error, "verify_message", "") or "the certificate is not good"
                advice = " (--ca-file names private authorities)" if _issuer_unknown(refused.certificate_error) else ""
                text = f"TLS with {refused.host} failed: {reason}{advice}"
                failure = Failure("tls_failed", text, Again.NEVER, sent=False)
            case aiohttp.ClientConnectorSSLError():
                failure = Failure("tls_failed", f"TLS with {error.host} failed", Again.NEVER, sent=False)
            case aiohttp.ClientConnectorError():
                number = error.errno or 0
                reason = os.strerror(number) if number > 0 else error.strerror
                text = f"can't connect to {error.host}:{error.port}: {reason}"
                failure = Failure("unreachable", text, Again.SAME, sent=False)
            case aiohttp.ConnectionTimeoutError():
                failure = Failure("unreachable", "no connection came about in time", Again.SAME, sent=False)
            case ValueError() | aiohttp.NonHttpUrlClientError():  # raised while the request is put together
                failure = Failure("bad_url", "the URL or a header makes no sense", Again.NEVER, sent=False)
            case aiohttp.ServerDisconnectedError():
                failure = Failure("no_answer", "the server closed the connection without an answer", Again.SAME)
            case aiohttp.ClientError() | OSError():
                failure = Failure("no_answer", f"the connection broke ({type(error).__name__})", Again.SAME)
            case _:
                return
        raise StepError(failure) from None
