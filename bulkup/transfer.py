"""Carrying out an `Upload`: the one function that moves a document's bytes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from secrets import token_hex

from bulkup.answers import judge_api, judge_store
from bulkup.content import Source
from bulkup.errors import StepError
from bulkup.http import Body, Limits, Request, Response, Transport
from bulkup.model import Again, Failure, Form, Reply, Upload

log = logging.getLogger("bulkup.transfer")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an upload: the name the vendor is told, and its bytes."""

    filename: str
    source: Source


async def transfer(
    upload: Upload,
    parts: Sequence[Part],
    *,
    credentials: tuple[tuple[str, str], ...],
    secrets: Sequence[str],
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
        secrets: values to take out of an answer of the API itself.
        expired: whether the URL's life is over; asked just before the first byte.
        transport: carries the request.
        limits: its deadlines.
        executor: reads large files.

    Raises:
        StepError: what the store or the network said; ``url_expired`` and ``file_changed`` want a new init.
    """
    if expired():
        raise StepError(Failure("url_expired", "the signed URL's life was over before the transfer", Again.FRESH))
    headers, body = _form(upload.form, parts, executor) if upload.form else ((), _raw(parts[0].source, executor))
    request = Request(upload.method, upload.url.value, upload.headers + credentials + headers, body)
    try:
        response = await transport.send(request, limits)
    except StepError:
        for part in parts:
            if part.source.failure is not None:  # the body broke off on our side: say why
                raise StepError(part.source.failure) from None
        raise
    log.debug("%s %s (%d bytes) -> %d", upload.method, upload.url, body.length, response.status)
    failure = _judge(upload, response, secrets)
    if failure is not None:
        raise StepError(failure)
    return Reply(response.status, response.body)


def _judge(upload: Upload, response: Response, secrets: Sequence[str]) -> Failure | None:
    if upload.auth:
        return judge_api(response.status, response.headers, response.body, secrets)
    return judge_store(response.status, response.headers, response.body)


def _raw(source: Source, executor: Executor) -> Body:
    return Body(source.content.size, lambda: source.chunks(executor))


def _form(form: Form, parts: Sequence[Part], executor: Executor) -> tuple[tuple[tuple[str, str], ...], Body]:
    """A multipart/form-data body (RFC 7578): text parts without a Content-Type, the files last."""
    boundary = token_hex(16)
    head = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'.encode()
        for name, value in form.fields
    )
    heads = [
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(form.file_field)}"; '
            f'filename="{_quoted(part.filename)}"\r\n'
            f"Content-Type: {form.content_type or 'application/octet-stream'}\r\n\r\n"
        ).encode()
        for part in parts
    ]
    tail = f"--{boundary}--\r\n".encode()
    length = len(head) + len(tail) + sum(len(h) + p.source.content.size + 2 for h, p in zip(heads, parts, strict=True))

    async def chunks() -> AsyncIterator[bytes]:
        yield head
        for file_head, part in zip(heads, parts, strict=True):
            yield file_head
            async for chunk in part.source.chunks(executor):
                yield chunk
            yield b"\r\n"
        yield tail

    return (("Content-Type", f"multipart/form-data; boundary={boundary}"),), Body(length, chunks)


def _quoted(name: str) -> str:
    """A name inside a Content-Disposition, escaped as browsers do it (WHATWG HTML, multipart/form-data encoding)."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
