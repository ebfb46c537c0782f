"""The HTTP client against raw sockets: what goes over the wire, and what comes of every way to break."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from bulkup.content import Source, inspect
from bulkup.errors import StepError
from bulkup.http import Http
from bulkup.model import Again, Failure, Upload
from bulkup.secret import SignedUrl
from bulkup.transfer import Part, described
from bulkup.transport import Body, Limits, Request, Response, body_of
from bulkup.watch import Watch, Watched
from bulkup.wire import Wire

SECRET = "5f0c3e"  # noqa: S105 - a test's
QUERY = f"?X-Amz-Signature={SECRET}"
QUICK = Limits(connect=2, answer=2, stall=2)
BIG = 8 * 1024 * 1024
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nno way"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Script = Callable[["Peer"], Awaitable[None]]
Client = Http | Wire

CLIENTS: list[type[Client]] = [Http]
"""Whose turn it is."""


class Files:
    """Where bodies are files."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self.folder = folder
        self.executor = executor
        self.sources: list[Source] = []

    def body(self, length: int) -> Body:
        """Made as a run makes it."""
        path = self.folder / f"{len(self.sources)}"
        with path.open("wb") as file:  # of a large one the rest is a hole, which takes no time to write
            file.write(b"x" * min(length, BIG))
            file.truncate(length)
        (source,) = inspect([str(path)], frozenset({"md5"}), allow_empty=True)
        assert isinstance(source, Source)
        self.sources.append(source)
        upload = Upload("PUT", SignedUrl("http://127.0.0.1/"), (0,))
        made = described(upload, [Part("body", source)], credentials=(), executor=self.executor).body
        assert made is not None
        return made


FILES: list[Files] = []
"""Empty: bodies are in memory."""


class Pouring(Wire):
    """Closes files after each request, as a transfer does."""

    async def send(self, request: Request, limits: Limits) -> Response:
        """See `Transport.send`."""
        try:
            return await super().send(request, limits)
        finally:
            for source in FILES[0].sources:
                source.close(FILES[0].executor)


pytestmark = pytest.mark.loops


@pytest.fixture(params=[Http, Wire, Pouring], ids=["aiohttp", "wire", "files"], autouse=True)
def turn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """All that follows holds for both clients, and for bodies that threads pour into their sockets."""
    CLIENTS[:] = [request.param]
    with ThreadPoolExecutor(2) as executor:
        FILES[:] = [Files(tmp_path, executor)] if request.param is Pouring else []
        yield


class Peer:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heads: list[bytes]) -> None:
        self.reader = reader
        self.writer = writer
        self._heads = heads

    async def head(self) -> bytes:
        """Read one request up to its blank line."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self._heads.append(head)
        return head

    async def request(self) -> bytes:
        """Read one request; returns its body."""
        head = await self.head()
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name.lower() == b"content-length":
                return await self.reader.readexactly(int(value))
        return b""

    def answer(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def gone(self) -> None:
        """Wait until the client closes."""
        while await self.reader.read(65536):
            pass


class Server:
    """A scripted server that counts what it sees."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.heads: list[bytes] = []
        self.connections = 0
        self.tasks: set[asyncio.Task[None] | None] = set()
        self.errors: list[BaseException] = []
        self.ended = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """A signed URL of this server."""
        return f"http://127.0.0.1:{self.port}/bucket/key{QUERY}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._script(Peer(reader, writer, self.heads))
        except Exception as error:  # noqa: BLE001 - shown by the fixture
            self.errors.append(error)
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Server]:
    """A server that treats each connection as the script says."""
    server = Server(script)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        tasks = [task for task in server.tasks if task is not None]
        pending = (await asyncio.wait(tasks, timeout=1))[1] if tasks else set()
    assert not server.errors
    assert not pending  # the client closed every connection


@asynccontextmanager
async def exchanging(script: Script) -> AsyncIterator[tuple[Client, Server]]:
    """A client and its server."""
    async with serving(script) as server, CLIENTS[0]() as http:
        yield http, server


def body(length: int = BIG, piece: int = 1024 * 1024) -> Body:
    """A body in pieces, or out of a file."""
    if FILES:
        return FILES[0].body(length)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, length, piece):
            yield b"x" * min(piece, length - start)

    return Body(length, chunks)


def put(url: str, content: Body | None = None) -> Request:
    """A PUT of some bytes to a signed URL."""
    return Request("PUT", url, (("Content-Type", "application/pdf"),), content or body_of(b"content"))


async def failed(http: Client, request: Request, limits: Limits = QUICK) -> Failure:
    """Send what must fail; says how it did, and that nothing of the URL's query came along."""
    with pytest.raises(StepError) as caught:
        await http.send(request, limits)
    return without_query(caught.value)


def without_query(error: StepError) -> Failure:
    """The failure of an error that shows nothing of the URL's query."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(error.failure)
    assert SECRET not in shown
    assert error.__cause__ is None
    return error.failure


async def answering(peer: Peer) -> None:
    """Answers each request 200."""
    while True:
        await peer.request()
        peer.answer(OK)


# --- what goes over the wire ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["/a%2Fb%7Ec", "/a~b/c", "/a?x=%2F%7E+%20&y=a+b", "/a%20b?X-Amz-Signature=%2b", "/?a=b%3Dc&&d", "/a//b/../c?q='"],
)
async def test_url_arrives_unchanged(target: str) -> None:
    """A signed URL is sent byte for byte."""
    async with exchanging(answering) as (http, server):
        await http.send(put(f"http://127.0.0.1:{server.port}{target}"), QUICK)
        assert server.heads[0].split(b"\r\n")[0] == f"PUT {target} HTTP/1.1".encode()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("content", [None, body_of(b"abc"), body_of(b"")])
async def test_only_the_headers_given(
    method: str, content: Body | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the headers given there are Host and the length, and no .netrc is read."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with exchanging(answering) as (http, server):
        await http.send(Request(method, server.url, (("X-One", "1"), ("x-two", "2")), content), QUICK)
        lines = [line for line in server.heads[0].decode().split("\r\n")[1:] if line]
        expected = [f"Host: 127.0.0.1:{server.port}", "X-One: 1", "x-two: 2"]
        if content is not None:
            expected.append(f"Content-Length: {content.length}")
        elif method != "GET":
            lines = [line for line in lines if line != "Content-Length: 0"]  # RFC 9110, 8.6: it should be there
        assert sorted(lines) == sorted(expected)


@pytest.mark.parametrize("length", [0, 1, 128 * 1024, 128 * 1024 + 1, 3 * 1024 * 1024 + 7])
async def test_body_is_whole_and_never_chunked(length: int) -> None:
    """A body arrives with its Content-Length and complete, whatever its size."""
    got: list[bytes] = []

    async def script(peer: Peer) -> None:
        got.append(await peer.request())
        peer.answer(OK)

    async with exchanging(script) as (http, server):
        answer = await http.send(put(server.url, body(length, 1_000_003)), QUICK)
        assert (answer.status, answer.body) == (200, b"ok")
        assert b"transfer-encoding" not in server.heads[0].lower()
    assert got == [b"x" * length]


async def test_cookies_are_forgotten() -> None:
    """A cookie that an answer sets is not sent with the next request."""

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            peer.answer(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 0\r\n\r\n")

    async with exchanging(script) as (http, server):
        for _ in range(2):
            await http.send(put(server.url), QUICK)
        assert server.connections == 1
        assert b"cookie" not in server.heads[1].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is an answer like any other."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.answer(f"HTTP/1.1 {status} Over\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n".encode())

    async with exchanging(script) as (http, server):
        assert (await http.send(put(server.url), QUICK)).status == status
        assert (await http.send(Request("GET", server.url), QUICK)).headers["location"] == "/there"
        assert len(server.heads) == 2


async def test_interim_answers_are_passed_over() -> None:
    """A 100 before the answer is not the answer."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    async with exchanging(script) as (http, server):
        assert (await http.send(put(server.url), QUICK)).status == 200


async def test_encoded_answer_is_left_alone() -> None:
    """An answer that is compressed all the same comes as it is: a document's bytes are never altered."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00")

    async with exchanging(script) as (http, server):
        assert (await http.send(Request("GET", server.url), QUICK)).body == b"\x1f\x8b\x08\x00"


# --- how it breaks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 7, 200_000])
async def test_put_is_sent_once(length: int) -> None:
    """A server that drops a kept-alive connection after reading a PUT has seen it once, and the answer is lost."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.answer(OK)
        await peer.request()

    async with exchanging(script) as (http, server):
        await http.send(put(server.url), QUICK)
        failure = await failed(http, put(server.url, body(length)))
        assert (failure.code, failure.sent, failure.answered, failure.again) == ("no_answer", True, False, Again.SAME)
        assert (len(server.heads), server.connections) == (2, 1)


async def test_stale_connection_is_no_trap() -> None:
    """After the server closed an idle connection, the next request goes over a new one."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.answer(OK)

    async with exchanging(script) as (http, server):
        for _ in range(5):
            assert (await http.send(put(server.url), QUICK)).status == 200
            await server.ended.wait()
            server.ended.clear()
            await asyncio.sleep(0.01)
        assert len(server.heads) == 5


async def test_refused_connection() -> None:
    """Nobody listens: the request surely never left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with CLIENTS[0]() as http:
        failure = await failed(http, put(f"http://127.0.0.1:{port}/key{QUERY}"))
        assert (failure.code, failure.sent, failure.again) == ("unreachable", False, Again.SAME)
        assert "127.0.0.1" in failure.text


async def test_unknown_host() -> None:
    """A name that does not resolve: the request surely never left."""
    async with CLIENTS[0]() as http:
        failure = await failed(http, put(f"http://no-such-host.invalid/key{QUERY}"))
        assert (failure.code, failure.sent) == ("unreachable", False)


async def test_connection_that_never_stands() -> None:
    """A handshake without an end is cut at the connect limit; the request surely never left."""

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with exchanging(script) as (http, server):
        limits = Limits(connect=0.1, answer=30, stall=30)
        failure = await failed(http, put(server.url.replace("http:", "https:")), limits)
        assert (failure.code, failure.sent, failure.again) == ("unreachable", False, Again.SAME)


async def test_plain_server_behind_https() -> None:
    """A server that does not speak TLS is no place to send anything, now or later."""

    async def script(peer: Peer) -> None:
        await peer.reader.read(10)
        peer.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with exchanging(script) as (http, server):
        failure = await failed(http, put(server.url.replace("http:", "https:")))
        assert (failure.code, failure.sent, failure.again) == ("tls_failed", False, Again.NEVER)


@pytest.mark.parametrize(
    "url", ["", "no url", "http://[::1", "http://host:99999/", "http:///key", "ftp://host/key", "/key"]
)
async def test_url_that_makes_no_sense(url: str) -> None:
    """Nothing was sent, and nothing will be."""
    async with CLIENTS[0]() as http:
        failure = await failed(http, put(f"{url}{QUERY}"))
        assert (failure.code, failure.sent, failure.again) == ("bad_url", False, Again.NEVER)


async def test_header_that_makes_no_sense() -> None:
    """A vendor's content type with a line end in it is not sent, now or later."""
    async with exchanging(answering) as (http, server):
        failure = await failed(http, Request("PUT", server.url, (("Content-Type", "a/b\r\nX: y"),), body_of(b"abc")))
        assert (failure.code, failure.sent, failure.again) == ("bad_url", False, Again.NEVER)
        assert server.heads == []


async def test_no_answer_in_time() -> None:
    """Without an answer the wait ends at the limit."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with exchanging(script) as (http, server):
        for content in (None, body_of(b"abc")):
            failure = await failed(http, Request("POST", server.url, (), content), Limits(0.05, 0.1, 0.1))
            assert (failure.code, failure.sent) == ("no_answer", True)


async def test_stall_in_mid_body() -> None:
    """A server that stops reading in the middle is given up after the stall limit."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await released.wait()

    released = asyncio.Event()
    async with exchanging(script) as (http, server):
        failure = await failed(http, put(server.url, body(64 * 1024 * 1024)), Limits(1, 60, 0.1))
        assert (failure.code, failure.sent, failure.text) == ("no_answer", True, "no byte moved in time")
        released.set()


async def test_slow_line_is_no_stall() -> None:
    """A large chunk may take longer than the stall limit, as long as its bytes move."""
    length, taken = 3 * BIG, 0  # more than the kernel's buffers hold

    async def script(peer: Peer) -> None:
        nonlocal taken
        await peer.head()
        while taken < length:
            taken += len(await peer.reader.readexactly(512 * 1024))
            await asyncio.sleep(0.02)
        peer.answer(OK)

    async with exchanging(script) as (http, server):
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await http.send(put(server.url, body(length, length)), Limits(0.1, 2, 0.4))
        assert (answer.status, taken) == (200, length)
        assert loop.time() - began > 0.5


async def test_slow_download_is_no_stall() -> None:
    """A long answer may take longer than any limit, as long as its bytes move; silence in it ends it."""

    async def script(peer: Peer) -> None:
        path = (await peer.head()).split()[1]
        peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10 if path == b"/whole" else 5):
            await asyncio.sleep(0.1)
            peer.answer(b"x")
        await peer.gone()

    async with exchanging(script) as (http, server):
        limits = Limits(0.8, 0.8, 0.8)
        base = f"http://127.0.0.1:{server.port}"
        assert (await http.send(Request("GET", f"{base}/whole"), limits)).body == b"x" * 10
        assert (await failed(http, Request("GET", f"{base}/half"), limits)).code == "no_answer"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"\x16\x03\x01 what is this\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_broken_answer(answer: bytes) -> None:
    """An answer that is cut short, or none at all, counts as lost."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.answer(answer)
        await peer.writer.drain()

    async with exchanging(script) as (http, server):
        failure = await failed(http, put(server.url))
        assert (failure.code, failure.sent, failure.answered, failure.again) == ("no_answer", True, False, Again.SAME)
        assert len(server.heads) == 1


async def test_body_that_fails() -> None:
    """When our own bytes end early, the server never sees a whole request, and nobody waits for an answer."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        raise StepError(Failure("file_changed", "it changed", Again.FRESH))

    got = 0

    async def script(peer: Peer) -> None:
        nonlocal got
        await peer.head()
        while data := await peer.reader.read(65536):
            got += len(data)

    async with exchanging(script) as (http, server):
        assert (await failed(http, put(server.url, Body(400_000, chunks)), Limits(1, 60, 60))).code == "file_changed"
        await server.ended.wait()
        assert got <= 300_000


# --- early answers --------------------------------------------------------------------------------------------------


async def test_refusal_before_the_body_was_read() -> None:
    """A 403 while the server keeps the connection but reads no more is read; the connection is not used again."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.answer(REFUSED)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await released.wait()

    released = asyncio.Event()
    async with exchanging(script) as (http, server):
        for _ in range(3):
            answer = await http.send(put(server.url, body()), QUICK)
            assert (answer.status, answer.body) == (403, b"no way")
        assert (server.connections, len(server.heads)) == (3, 3)
        released.set()


@contextmanager
def refusing(read: int) -> Iterator[str]:
    """A server in a thread of its own that reads so many bytes, answers 403 and closes (the kernel resets)."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    got = 0
                    while got < read:
                        got += len(connection.recv(65536))
                    connection.sendall(REFUSED)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/key{QUERY}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("read", [1, 3 * 1024 * 1024])
async def test_refusal_with_a_reset(read: int) -> None:
    """A 403 with a reset behind it is read nearly always; else it is a lost answer, never anything worse.

    A socket that fails in a write before the loop saw the answer is closed unread by asyncio: of 50 tries, up to 2.
    """
    statuses: list[int | str] = []
    with refusing(read) as url:
        async with CLIENTS[0]() as http:
            for _ in range(20):
                try:
                    answer = await http.send(put(url, body()), QUICK)
                    statuses.append(answer.status)
                except StepError as error:
                    statuses.append(without_query(error).code)
    assert set(statuses) <= {403, "no_answer"}
    assert statuses.count(403) >= 15


async def test_early_success_proves_nothing() -> None:
    """A 200 that comes before all bytes were sent can't be about all of them."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.answer(OK)
        await peer.gone()

    async with exchanging(script) as (http, server):
        failure = await failed(http, put(server.url, body(64 * 1024 * 1024)))
        assert (failure.code, failure.sent, failure.again) == ("no_answer", True, Again.SAME)


async def test_answer_before_the_body_generator_ended() -> None:
    """An answer to all bytes is a success, though the generator of the bytes is not through, and keeps none open."""
    ended = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"abc"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with exchanging(answering) as (http, server):
        assert (await http.send(put(server.url, Body(3, chunks)), QUICK)).status == 200
        await asyncio.wait_for(ended.wait(), 1)


async def test_error_without_end() -> None:
    """Of an endless error nobody reads more than its beginning."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.answer(b"HTTP/1.1 500 Oh\r\nContent-Length: 999999999\r\n\r\n")
        while True:
            peer.answer(b"x" * 65536)
            await peer.writer.drain()

    async with exchanging(script) as (http, server):
        answer = await http.send(put(server.url), QUICK)
        assert answer.status == 500
        assert 64 * 1024 <= len(answer.body) < 1024 * 1024


# --- cancellation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, body_of(b"abc")])
async def test_a_success_that_is_too_long(content: Body | None) -> None:
    """It counts as lost, with a body and without, also where every move of the request is noted."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000)

    async with exchanging(script) as (http, server):
        for transport in (http, Watched(http, Watch())):
            with pytest.raises(StepError, match="longer than 1000000 bytes"):
                await transport.send(Request("POST", server.url, (), content, most=1_000_000), QUICK)


async def test_cancellation_leaves_a_clean_client() -> None:
    """A request that is cancelled in mid-body closes its connection; the next one gets a new one and succeeds."""
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        if b"/stuck" in await peer.head():
            arrived.set()
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await released.wait()
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await peer.gone()
            return
        peer.answer(OK)
        await peer.gone()

    released = asyncio.Event()
    async with exchanging(script) as (http, server):
        stuck = asyncio.ensure_future(http.send(put(f"http://127.0.0.1:{server.port}/stuck", body(64 * BIG)), QUICK))
        await arrived.wait()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        assert (await http.send(Request("GET", server.url), QUICK)).status == 200
        assert server.connections == 2
        released.set()
        await asyncio.wait_for(server.ended.wait(), 1)
        gc.collect()


async def test_cancellation_while_waiting_for_the_answer() -> None:
    """A request that is cancelled before its answer does not leave that answer to the next one."""

    async def script(peer: Peer) -> None:
        if b"/late" in await peer.head():
            arrived.set()
            await asyncio.sleep(0.05)
            peer.answer(REFUSED)
        else:
            peer.answer(OK)
        await peer.gone()

    arrived = asyncio.Event()
    async with exchanging(script) as (http, server):
        late = asyncio.ensure_future(http.send(Request("GET", f"http://127.0.0.1:{server.port}/late"), QUICK))
        await arrived.wait()
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert (await http.send(Request("GET", server.url), QUICK)).status == 200


# --- streams --------------------------------------------------------------------------------------------------------

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


async def test_stream_gives_chunks_as_they_come() -> None:
    """Each chunk is there before the next was sent; leaving the context closes the connection."""
    wanted = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.answer(STREAM)
        for data in (b"one", b"two"):
            await wanted.wait()
            wanted.clear()
            peer.answer(data)
        await peer.gone()

    async with exchanging(script) as (http, server):
        async with http.stream(Request("GET", server.url, (("Accept", "text/event-stream"),)), QUICK) as stream:
            assert (stream.response.status, stream.response.headers["content-type"]) == (200, "text/event-stream")
            for data in (b"one", b"two"):
                wanted.set()
                assert await anext(stream.chunks) == data
            assert not server.ended.is_set()
        await asyncio.wait_for(server.ended.wait(), 1)
        assert b"Accept: text/event-stream\r\n" in server.heads[0]


async def test_stream_without_end_is_not_limited() -> None:
    """A stream may last longer than any limit, as long as something comes."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.answer(STREAM)
        for _ in range(10):
            await asyncio.sleep(0.03)
            peer.answer(b"x")

    async with (
        exchanging(script) as (http, server),
        http.stream(Request("GET", server.url), Limits(0.1, 0.1, 0.2)) as stream,
    ):
        assert b"".join([chunk async for chunk in stream.chunks]) == b"x" * 10


async def test_silent_stream() -> None:
    """A stream in which nothing comes any more counts as broken."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.answer(STREAM + b"one")
        await peer.gone()

    async with exchanging(script) as (http, server):
        async with http.stream(Request("GET", server.url), Limits(1, 1, 0.1)) as stream:
            assert await anext(stream.chunks) == b"one"
            with pytest.raises(StepError) as caught:
                await anext(stream.chunks)
        assert "silent" in without_query(caught.value).text
        await asyncio.wait_for(server.ended.wait(), 1)


async def test_stream_that_breaks() -> None:
    """A stream that is cut off raises; one that ends, ends."""

    async def script(peer: Peer) -> None:
        while b"/cut" not in await peer.head():
            peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
        peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\none")

    async with exchanging(script) as (http, server):
        async with http.stream(Request("GET", f"http://127.0.0.1:{server.port}/end"), QUICK) as stream:
            assert [chunk async for chunk in stream.chunks] == [b"one"]
        async with http.stream(Request("GET", f"http://127.0.0.1:{server.port}/cut{QUERY}"), QUICK) as stream:
            with pytest.raises(StepError) as caught:
                _ = [chunk async for chunk in stream.chunks]
        assert without_query(caught.value).code == "no_answer"


async def test_stream_that_is_refused() -> None:
    """An error's status and body can be read; there are no chunks."""

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.answer(REFUSED)
        await peer.gone()

    async with exchanging(script) as (http, server), http.stream(Request("GET", server.url), QUICK) as stream:
        assert (stream.response.status, stream.response.body) == (403, b"no way")
        assert [chunk async for chunk in stream.chunks] == []


async def test_stream_that_does_not_begin() -> None:
    """No answer, no connection, or a broken answer: the context raises on entry."""

    async def script(peer: Peer) -> None:
        if b"/garbage" in await peer.head():
            peer.answer(b"garbage\r\n\r\n")
        else:
            await peer.gone()

    async with exchanging(script) as (http, server):
        base = f"http://127.0.0.1:{server.port}"
        for url, code in (
            (f"{base}/silent{QUERY}", "no_answer"),
            (f"{base}/garbage{QUERY}", "no_answer"),
            (f"http://127.0.0.1:1/{QUERY}", "unreachable"),
            (f"http://[/{QUERY}", "bad_url"),
        ):
            with pytest.raises(StepError) as caught:
                async with http.stream(Request("GET", url), Limits(0.1, 0.05, 0.1)):
                    pass
            assert without_query(caught.value).code == code


# --- what can be printed --------------------------------------------------------------------------------------------


def test_nothing_prints_the_query() -> None:
    """Neither a request nor an answer shows what it carries."""
    request = Request("PUT", f"http://host/{QUERY}", (("Authorization", SECRET),), body_of(SECRET.encode()))
    answer = Response(200, {"location": SECRET}, SECRET.encode())
    assert SECRET not in repr(request) + str(request) + repr(answer)
