"""A vendor's answer becomes URLs and headers of ours: it can't make us send more than one of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from bulkup.errors import StepError
from bulkup.model import Form
from bulkup.transfer import _form
from bulkup.transport import Limits, Request
from bulkup.wire import Wire

LIMITS = Limits(connect=20, answer=20, stall=20)


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that notes each request's head and gives one answer."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def refused(request: Request) -> None:
    """It is not sent, and the refusal shows nothing of it."""
    async with Wire() as http:
        with pytest.raises(StepError) as caught:
            await http.send(request, LIMITS)
    assert (caught.value.failure.code, caught.value.failure.sent) == ("bad_url", False)
    assert "Injected" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://{host}/a\r\nInjected: 1",
        "http://{host}/a HTTP/1.1\nInjected: 1",
        "http://{host}/a b",
        "http://{host}/a\x00",
        "http://Injected:pass@{host}/",
        "http://:Injected@{host}/",
        "http://{host}\x0b/Injected",
        "file:///etc/passwd",
        "//{host}/",
        "ftp://{host}/",
        "data:,Injected",
        "http:///Injected",
        "",
    ],
)
async def test_no_url_carries_more_than_an_address(url: str) -> None:
    """Line ends, blanks, credentials and other schemes are refused before anything is sent."""
    async with listening(OK) as (host, heads):
        await refused(Request("PUT", url.format(host=host)))
        assert heads == []


@pytest.mark.parametrize("value", ["a\r\nInjected: 1", "a\nInjected: 1", "a\rb", "a\x00", "a\x0b", "a\x7f"])
async def test_no_header_carries_another(value: str) -> None:
    """A content type that a vendor chose can't hold a line end or another control character, nor can a name."""
    async with listening(OK) as (host, heads):
        await refused(Request("PUT", f"http://{host}/", [("Content-Type", value)]))
        await refused(Request("PUT", f"http://{host}/", [(value, "x")]))
        assert heads == []


def test_no_form_carries_another_header() -> None:
    """The content type of a form's file, which a vendor chose, can't end its header."""
    form = Form((("key", "k"),), "file", "a/b\r\nInjected: 1")
    with ThreadPoolExecutor(1) as executor, pytest.raises(StepError) as caught:
        _form(form, [], executor)
    assert (caught.value.failure.code, caught.value.failure.sent) == ("bad_url", False)


async def test_an_answer_without_end_is_given_up() -> None:
    """A body longer than anybody needs counts as lost, and is not kept."""
    async with listening(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000) as (host, _), Wire() as http:
        with pytest.raises(StepError, match="longer than 1000 bytes"):
            await http.send(Request("GET", f"http://{host}/", most=1000), LIMITS)
        whole = await http.send(Request("GET", f"http://{host}/", most=100_000), LIMITS)
        assert len(whole.body) == 100_000
