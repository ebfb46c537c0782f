"""Carries out a fault on one request: lateness, error answers, resets, stalls, answers cut short or broken."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from bulkup.sandbox.background import Background
from bulkup.sandbox.faults import Rule
from bulkup.sandbox.port import PORT

_FOREVER = 3600.0
_EARLY_LINGER = 0.2
_PIECE = 65_536

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorBody = Callable[[int, str | None, Mapping[str, object]], web.Response]


async def spoil(
    request: web.Request,
    rule: Rule | None,
    delay: float,
    handle: Handler,
    error: ErrorBody,
    background: Background,
    *,
    is_stream: bool,
) -> web.StreamResponse:
    """Answer a request as the fault plan wants it.

    Args:
        request: the request.
        rule: what goes wrong, if anything.
        delay: seconds by which the answer comes late.
        handle: gives the good answer.
        error: makes an error body.
        background: runs what goes on after the answer.
        is_stream: ``handle`` sends its answer by itself, and spoils it by itself where the rule is about streams.
    """
    if is_stream or rule is not None:
        await asyncio.sleep(delay)
    if rule is None or (is_stream and (rule.kind in ("drop_stream", "garbage_stream") or rule.events is not None)):
        answer = await handle(request)
        if not is_stream:
            await asyncio.sleep(delay)
        return answer
    if rule.kind in _BEFORE:
        return await _BEFORE[rule.kind](request, rule, error)
    if rule.kind == "reset_mid" and request.can_read_body:
        await _read(request, (request.content_length or 0) // 2 if rule.at_byte is None else rule.at_byte)
        return reset(request)
    answer = await handle(request)
    if rule.kind == "close_port":
        return await _close_port(request, rule, answer, background)
    return _AFTER[rule.kind](request, rule, answer)


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection (RST), so that the client sees no answer; what is returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _read(request: web.Request, count: int) -> None:
    while count > 0 and (piece := await request.content.read(min(count, _PIECE))):
        count -= len(piece)


def _error(rule: Rule, error: ErrorBody) -> web.Response:
    answer = error(rule.status or HTTPStatus.TOO_MANY_REQUESTS, rule.message, {})
    if rule.retry_after is not None:
        answer.headers["Retry-After"] = str(rule.retry_after)
    return answer


async def _status(request: web.Request, rule: Rule, error: ErrorBody) -> web.StreamResponse:
    while await request.content.readany():
        pass
    return _error(rule, error)


async def _early(request: web.Request, rule: Rule, error: ErrorBody) -> web.StreamResponse:
    transport = request.transport
    answer = _error(rule, error)
    answer.force_close()
    await answer.prepare(request)
    await answer.write_eof()
    if transport is not None and not request.content.is_eof():
        await asyncio.sleep(_EARLY_LINGER if rule.seconds is None else rule.seconds)
        transport.close()
    return answer


async def _reset_before(request: web.Request, _rule: Rule, _error: ErrorBody) -> web.StreamResponse:
    return reset(request)


async def _close_kept(request: web.Request, _rule: Rule, _error: ErrorBody) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def _stall(request: web.Request, rule: Rule, _error: ErrorBody) -> web.StreamResponse:
    await _read(request, rule.at_byte or 0)
    await asyncio.sleep(_FOREVER if rule.seconds is None else rule.seconds)
    return reset(request)


def _reset_after(request: web.Request, _rule: Rule, _answer: web.StreamResponse) -> web.StreamResponse:
    return reset(request)


def _cut(request: web.Request, rule: Rule, answer: web.StreamResponse) -> web.StreamResponse:
    """Send part of the answer, then end the connection: by a reset, or as if all had been sent."""
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    sent = body[: len(body) // 2 if rule.at_byte is None else rule.at_byte]
    promised = max(len(body), len(sent) + 1)
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n"
    if answer.status != HTTPStatus.NO_CONTENT:
        head += f"Content-Type: {answer.content_type}\r\nContent-Length: {promised}\r\n\r\n"
    transport = request.transport
    if transport is not None:
        transport.write(head.encode() + sent)
        if rule.kind == "reset_mid":
            return reset(request)
        transport.close()
    return web.Response()


def _malformed(_request: web.Request, _rule: Rule, answer: web.StreamResponse) -> web.StreamResponse:
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    status = HTTPStatus.OK if answer.status == HTTPStatus.NO_CONTENT else answer.status
    return web.Response(body=b"{" + body[: len(body) // 2], status=status, content_type="application/json")


class _Unannounced(web.Response):
    """An answer after which the connection is closed, though its headers don't say so."""

    def __init__(self, answer: web.Response, seconds: float) -> None:
        super().__init__(body=answer.body, status=answer.status, headers=answer.headers)
        self._seconds = seconds

    async def write_eof(self, data: bytes = b"") -> None:
        transport = self._req.transport if self._req is not None else None
        await super().write_eof(data)
        if transport is not None:
            asyncio.get_running_loop().call_later(self._seconds, transport.close)


def _close_idle(_request: web.Request, rule: Rule, answer: web.StreamResponse) -> web.StreamResponse:
    return _Unannounced(answer, rule.seconds or 0) if isinstance(answer, web.Response) else answer


async def _close_port(
    request: web.Request, rule: Rule, answer: web.StreamResponse, background: Background
) -> web.StreamResponse:
    port = request.app[PORT]
    await port.close()
    background.start(port.open_after(1 if rule.seconds is None else rule.seconds))
    return answer


_BEFORE: dict[str, Callable[[web.Request, Rule, ErrorBody], Awaitable[web.StreamResponse]]] = {
    "status": _status,
    "limit": _status,
    "early": _early,
    "reset_before": _reset_before,
    "close_kept": _close_kept,
    "stall": _stall,
}
_AFTER: dict[str, Callable[[web.Request, Rule, web.StreamResponse], web.StreamResponse]] = {
    "reset_after": _reset_after,
    "reset_mid": _cut,
    "truncate": _cut,
    "malformed": _malformed,
    "close_idle": _close_idle,
}
