"""HTTP by aiohttp: for proxies, and as the yardstick of `bulkup.wire`. The only module that knows the library.

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
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.request import proxy_bypass

import aiohttp
import anyio
import anyio.lowlevel
from yarl import URL

from bulkup.errors import StepError
from bulkup.model import Again, Failure
from bulkup.tls import refused, trusting
from bulkup.transport import (
    CONTROL,
    ERROR,
    MOST_OF_AN_ERROR,
    PATIENCE,
    SLOWEST,
    Body,
    Limits,
    Request,
    Response,
    Stream,
    no_answer,
    open_socket,
)

_PIECE = 128 * 1024
"""Bytes that are given to the library at a time: on a slow line a whole chunk would be a stall."""

_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f]")


class Http:
    """A `bulkup.transport.Transport`. Open it with ``async with``.

    Args:
        tls: from `trusting`.
        proxy: carries what goes to other machines by HTTPS; ``NO_PROXY`` names exceptions. May hold credentials.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, proxy: str | None = None) -> None:
        self._tls = tls or trusting()
        self._proxy = proxy

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(self._open_session(keepalive_timeout=15))
            self._fresh = await stack.enter_async_context(self._open_session(force_close=True))
            self._sessions = stack.pop_all()
        return self

    def _open_session(self, **connections: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, socket_factory=open_socket, **connections),
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
        body = request.body
        sent = _Sent(complete=body is None or body.length == 0)
        try:
            return await self._exchange(request, limits, sent)
        except StepError:
            if sent.error is not None:
                raise sent.error from None
            raise

    async def _exchange(self, request: Request, limits: Limits, sent: _Sent) -> Response:
        body = request.body
        with _translated(), anyio.CancelScope() as scope:
            scope.deadline = anyio.current_time() + limits.connect + (limits.stall if body else limits.answer)
            data = None if body is None else _moving(body, scope, limits, sent)
            async with await self._open(request, data, limits) as answer:
                scope.deadline = anyio.current_time() + limits.answer
                content = (
                    await _whole(answer, scope, limits, request.most) if answer.status < ERROR else await _head(answer)
                )
                if not sent.complete:
                    # an early refusal: the connection still waits for the rest of the body
                    answer.close()
                    if answer.status < ERROR:
                        raise no_answer(f"HTTP {answer.status} came before all bytes were sent, so it proves nothing")
                return Response(answer.status, _lower(answer), content)
        raise no_answer(f"no answer within {limits.answer:g} s" if sent.complete else "no byte moved in time")

    @asynccontextmanager
    async def stream(self, request: Request, limits: Limits) -> AsyncIterator[Stream]:
        """See `Transport.stream`."""
        answer: aiohttp.ClientResponse | None = None
        with _translated(), anyio.move_on_after(limits.connect + limits.answer):
            answer = await self._open(request, None, limits)
        if answer is None:
            raise no_answer(f"no answer within {limits.answer:g} s")
        try:
            if answer.status >= ERROR:
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
            proxy=self._proxy if url.scheme == "https" and not _stays(url.host or "") else None,
            timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect),
        )


def _stays(host: str) -> bool:
    """Whether a host is this machine, or one that the user wants no proxy for."""
    try:
        return host == "localhost" or ip_address(host).is_loopback or bool(proxy_bypass(host))
    except ValueError:
        return bool(proxy_bypass(host))


@dataclass(slots=True)
class _Sent:
    """How far a body got.

    Attributes:
        complete: the library has all of it.
        error: why it broke off, if it did.
    """

    complete: bool
    error: StepError | None = None


async def _moving(body: Body, scope: anyio.CancelScope, limits: Limits, sent: _Sent) -> AsyncIterator[bytes]:
    """The body in pieces, moving the deadline on as each is taken: on a slow line a whole chunk would be a stall."""
    left = body.length
    try:
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
    except StepError as error:
        sent.error = error
        raise


async def _whole(answer: aiohttp.ClientResponse, scope: anyio.CancelScope, limits: Limits, most: int) -> bytes:
    """The answer's body, which may be a large document: the deadline moves with its bytes, unless they trickle."""
    parts: list[bytes] = []
    ends, length = scope.deadline + PATIENCE, 0
    while part := await answer.content.readany():
        parts.append(part)
        length += len(part)
        if length > most:
            answer.close()
            raise no_answer(f"the answer is longer than {most} bytes")
        scope.deadline = min(anyio.current_time() + limits.stall, ends + length / SLOWEST)
    return b"".join(parts)


async def _read_on(answer: aiohttp.ClientResponse, stall: float) -> AsyncIterator[bytes]:
    while True:
        chunk: bytes | None = None
        with _translated(), anyio.move_on_after(stall):
            chunk = await answer.content.readany()
        if chunk is None:
            raise no_answer(f"the stream was silent for {stall:g} s")
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
    while length < MOST_OF_AN_ERROR:
        chunk = await answer.content.readany()
        if not chunk:
            return b"".join(parts)
        parts.append(chunk)
        length += len(chunk)
    answer.close()
    return b"".join(parts)


def _lower(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


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
            case aiohttp.ClientConnectorCertificateError():
                raise refused(error.host, error.certificate_error) from None
            case aiohttp.ClientConnectorSSLError():
                raise refused(error.host, error) from None
            case aiohttp.ClientConnectorError():
                number = error.errno or 0
                reason = os.strerror(number) if number > 0 else error.strerror
                text = f"can't connect to {error.host}:{error.port}: {reason}"
                failure = Failure("unreachable", text, Again.SAME, sent=False)
            case aiohttp.ClientHttpProxyError():
                failure = Failure("unreachable", f"the proxy refused: HTTP {error.status}", Again.SAME, sent=False)
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
