"""Carrying out an `Upload`: the one function that moves a document's bytes."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from secrets import token_hex
from typing import NamedTuple

import orjson

from bulkup.answers import ok
from bulkup.errors import StepError
from bulkup.model import Again, Failure, Form, Inline, Reply, Upload
from bulkup.readable import Readable
from bulkup.transport import CONTROL, Body, Limits, Pourable, Request, Response, Transport, body_of

log = logging.getLogger("bulkup.transfer")


_MOST_OF_A_REPLY = 1024 * 1024


class Part(NamedTuple):
    """One file of an upload: the name the vendor is told, and its bytes."""

    filename: str
    source: Readable


async def transfer(
    upload: Upload,
    parts: Sequence[Part],
    *,
    credentials: tuple[tuple[str, str], ...],
    judge: Callable[[Response], Failure | None],
    expired: Callable[[], bool],
    transport: Transport,
    limits: Limits,
    executor: Executor,
) -> Reply:
    """Send the bytes, once.

    Args:
        upload: where to and how.
        parts: the files it carries, in the order of its slots.
        credentials: headers for an upload to the API itself; empty for a signed URL.
        judge: says what the answer means.
        expired: whether the URL's life is over; asked just before the first byte.
        transport: carries the request.
        limits: its deadlines.
        executor: reads large files.

    Raises:
        StepError: what the store or the network said; ``url_expired`` and ``file_changed`` want a new init.
    """
    if expired():
        raise StepError(Failure("url_expired", "the signed URL's life was over before the transfer", Again.FRESH))
    request = described(upload, parts, credentials=credentials, executor=executor)
    try:
        response = await transport.send(request, limits)
    finally:
        for part in parts:
            part.source.close(executor)
    reply = judged(upload, response, judge)
    if isinstance(reply, Failure):
        raise StepError(reply)
    return reply


def judged(upload: Upload, response: Response, judge: Callable[[Response], Failure | None]) -> Reply | Failure:
    """What a store's answer means."""
    log.debug("%s %s -> %d", upload.method, upload.url, response.status)
    failure = None if ok(response.status) else judge(response)
    return failure or Reply(response.status, response.body)


def described(
    upload: Upload, parts: Sequence[Part], *, credentials: tuple[tuple[str, str], ...], executor: Executor
) -> Request:
    """The request of an upload; see `transfer`."""
    headers, body = _body(upload, parts, executor)
    return Request(
        upload.method,
        upload.url.value,
        upload.headers + credentials + headers,
        body,
        upload.single_use,
        _MOST_OF_A_REPLY,
    )


def _body(upload: Upload, parts: Sequence[Part], executor: Executor) -> tuple[tuple[tuple[str, str], ...], Body]:
    """The body of a transfer, and the headers that it needs besides the upload's own."""
    match upload.form:
        case Form() as form:
            return _form(form, parts, executor)
        case Inline() as inline:
            return (("Content-Type", "application/json"),), _inline(inline, parts[0].source, executor)
        case None:
            source = parts[0].source
            return (), _joined([source], executor) if source.data is None else body_of(source.data)


def _joined(pieces: Sequence[bytes | Readable], executor: Executor) -> Body:
    """A body of bytes and files, one after the other."""
    data = [piece if isinstance(piece, bytes) else piece.data for piece in pieces]
    in_memory = [each for each in data if each is not None]
    if len(in_memory) == len(pieces):
        return body_of(*in_memory)

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                async for chunk in piece.chunks(executor):
                    yield chunk

    length = sum(len(piece) if isinstance(piece, bytes) else piece.content.size for piece in pieces)
    if not all(isinstance(piece, bytes) or piece.data is not None or piece.pours for piece in pieces):
        return Body(length, chunks)
    return Body(length, chunks, poured=lambda: [_poured(piece, executor) for piece in pieces])


def _poured(piece: bytes | Readable, executor: Executor) -> bytes | Pourable:
    if isinstance(piece, bytes):
        return piece
    return piece.poured(executor) if piece.data is None else piece.data


_GROUP = 3


def _inline(inline: Inline, source: Readable, executor: Executor) -> Body:
    """A JSON object with the file in base64 (RFC 4648) as its last value, made while it is sent."""
    opening = orjson.dumps(inline.fields)[:-1] + (b"," if inline.fields else b"")
    head = opening + orjson.dumps(inline.file_field) + b':"'
    tail = b'"}'
    if source.data is not None:
        return body_of(head, base64.b64encode(source.data), tail)

    async def chunks() -> AsyncIterator[bytes]:
        yield head
        rest = b""
        async for chunk in source.chunks(executor):
            data = rest + chunk
            whole = len(data) - len(data) % _GROUP
            rest = data[whole:]
            if whole:
                yield base64.b64encode(data[:whole])
        yield base64.b64encode(rest) + tail

    encoded = (source.content.size + _GROUP - 1) // _GROUP * 4
    return Body(len(head) + encoded + len(tail), chunks)


def _form(form: Form, parts: Sequence[Part], executor: Executor) -> tuple[tuple[tuple[str, str], ...], Body]:
    """A multipart/form-data body (RFC 7578): text parts without a Content-Type, the files last."""
    if CONTROL.search(form.content_type or ""):
        raise StepError(Failure("bad_url", "the form's Content-Type makes no sense", Again.NEVER, sent=False))
    boundary = token_hex(16)
    pieces: list[bytes | Readable] = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'.encode()
        for name, value in form.fields
    ]
    for part in parts:
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(form.file_field)}"; '
            f'filename="{_quoted(part.filename)}"\r\n'
            f"Content-Type: {form.content_type or 'application/octet-stream'}\r\n\r\n"
        )
        pieces += [head.encode(), part.source, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return (("Content-Type", f"multipart/form-data; boundary={boundary}"),), _joined(pieces, executor)


def _quoted(name: str) -> str:
    """A name inside a Content-Disposition, escaped as browsers do it (WHATWG HTML, multipart/form-data encoding)."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
