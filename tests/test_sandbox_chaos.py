"""Each kind of fault, on the wire."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
import yarl

from bulkup.sandbox import Faults, LightReachOptions, Rule
from tests.test_sandbox_support import PDF, Client, Clock, put_head, raw, sandboxed

TYPE = {"Content-Type": PDF}
FOREVER = LightReachOptions(variants="never", job_delay=0, heartbeat=0.01)


async def one_url(client: Client, size: int = 3) -> str:
    """The signed URL of one file."""
    return str((await client.init({"a.pdf": size}))["files"][0]["uploadUrl"])


def stored(client: Client) -> list[bool]:
    """Which files' bytes have landed, over all jobs."""
    return [file.landed for job in client.sandbox.lightreach.jobs.values() for file in job.files]


async def test_latency_comes_after_the_effect() -> None:
    """Latency delays the answer; a client that goes away meanwhile has stored its bytes."""
    async with sandboxed(Rule(kind="latency", step="put", seconds=30)) as client:
        url = await one_url(client)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.put(url, b"abc", TYPE)
        assert stored(client) == [True]


async def test_short_latency() -> None:
    """A late answer is a good answer."""
    async with sandboxed(Rule(kind="latency", step="list", seconds=0.05)) as client:
        start = time.monotonic()
        assert (await client.api("GET", client.documents()))[0] == 200
        assert time.monotonic() - start >= 0.05


async def test_status_of_the_api() -> None:
    """A status comes with the vendor's body and ``Retry-After``, the request has no effect."""
    rule = Rule(kind="status", step="init", status=429, retry_after=3, message="slow down", times=1)
    async with sandboxed(rule) as client:
        body = {"files": [{"filename": "a.pdf", "size": 1}], "type": "utilityBill"}
        async with client.http.post(client.documents(), json=body, headers=client.bearer) as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "3"
            assert await answer.json() == {"message": "slow down"}
        assert client.sandbox.lightreach.jobs == {}
        assert (await client.try_init(body))[0] == 202
        assert client.sandbox.requests["lightreach", "init"] == 2


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout"), (403, "AccessDenied"), (418, "ImATeapot")],
)
async def test_status_of_the_store(status: int, code: str) -> None:
    """The store's statuses come with an XML body, and nothing is stored."""
    async with sandboxed(Rule(kind="status", step="put", status=status)) as client:
        answered, text = await client.put(await one_url(client), b"abc", TYPE)
        assert answered == status
        assert f"<Code>{code}</Code>" in text
        assert stored(client) == [False]


async def test_status_waits_for_the_body() -> None:
    """A status is answered only when the whole body has come."""
    async with sandboxed(Rule(kind="status", step="put", status=500)) as client:
        url = await one_url(client)
        reader, writer = await asyncio.open_connection("127.0.0.1", yarl.URL(url).port)
        writer.write(put_head(url, PDF, "Content-Length: 3") + b"ab")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        writer.write(b"c")
        assert (await reader.readline()).startswith(b"HTTP/1.1 500 ")
        writer.close()


@pytest.mark.parametrize(("kind", "landed"), [("reset_before", False), ("reset_mid", False), ("reset_after", True)])
async def test_reset(kind: Any, landed: bool) -> None:  # noqa: FBT001 # a parameter of the test
    """A reset leaves the client without an answer; only after the body's end are the bytes stored."""
    async with sandboxed(Rule(kind=kind, step="put", times=1)) as client:
        job = await client.init({"a.pdf": 400_000})
        url = job["files"][0]["uploadUrl"]
        request = put_head(url, PDF, "Content-Length: 400000") + b"x" * 400_000
        with pytest.raises(ConnectionError):
            await raw(url, request)
        assert stored(client) == [landed]


async def test_reset_of_an_answer() -> None:
    """Where the request has no body, the answer is reset in the middle of its own."""
    async with sandboxed(Rule(kind="reset_mid", step="list", at_byte=1)) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.api("GET", client.documents())


async def test_early_answer() -> None:
    """The answer comes before the body, of which the server reads no more; then the connection ends."""
    async with sandboxed(Rule(kind="early", step="put", status=403, seconds=0.05)) as client:
        url = await one_url(client)
        answer = await raw(url, put_head(url, PDF, "Content-Length: 1000000") + b"x")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"<Code>AccessDenied</Code>" in answer
        assert b"connection: close" in answer.lower()
        assert stored(client) == [False]


async def test_stall() -> None:
    """A stalled request is not answered, then the connection is reset."""
    async with sandboxed(Rule(kind="stall", step="put", seconds=0.1, at_byte=2)) as client:
        url = await one_url(client)
        start = time.monotonic()
        with pytest.raises(aiohttp.ClientError):
            async with client.http.put(yarl.URL(url, encoded=True), data=b"abc", headers=TYPE):
                pass
        assert time.monotonic() - start >= 0.1
        assert stored(client) == [False]


async def test_stall_does_not_hold_up_the_end() -> None:
    """A sandbox with a stalled request stops at once."""
    async with sandboxed(Rule(kind="stall", step="list")) as client:
        task = asyncio.ensure_future(client.api("GET", client.documents()))
        await asyncio.sleep(0.05)
        start = time.monotonic()
    with pytest.raises(aiohttp.ClientError):
        await task
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("step", ["init", "put", "list", "archive"])
async def test_truncated_answer(step: str) -> None:
    """An answer that is cut short is an error to the client; the effect took place."""
    async with sandboxed(options=FOREVER) as client:
        job = await client.upload({"b.pdf": b"b"})
        (document,) = (await client.wait_for(job, "complete"))["documents"]
        url = await one_url(client)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "init": lambda: client.init({"a.pdf": 3}),
            "put": lambda: client.put(url, b"abc", TYPE),
            "list": lambda: client.api("GET", client.documents()),
            "archive": lambda: client.api("DELETE", client.documents(f"/{document['id']}")),
        }
        client.sandbox.faults = Faults(rules=(Rule(kind="truncate", step=step),))
        with pytest.raises(aiohttp.ClientError):
            await calls[step]()
        assert len(client.sandbox.lightreach.jobs) == (3 if step == "init" else 2)
        assert stored(client)[1] == (step == "put")
        assert client.sandbox.lightreach.documents[0].archived == (step == "archive")


@pytest.mark.parametrize("step", ["init", "list", "job"])
async def test_malformed_answer(step: str) -> None:
    """A malformed answer is a success whose JSON is broken."""
    async with sandboxed() as client:
        job = (await client.init({"a.pdf": 3}))["jobId"]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "init": lambda: client.init({"a.pdf": 3}),
            "list": lambda: client.api("GET", client.documents()),
            "job": lambda: client.poll(job),
        }
        client.sandbox.faults = Faults(rules=(Rule(kind="malformed", step=step),))
        with pytest.raises(ValueError, match=r"."):
            await calls[step]()


async def test_connection_closed_while_idle() -> None:
    """After a good answer, without a word about it, the connection is closed."""
    async with sandboxed(Rule(kind="close_idle", step="put")) as client:
        url = await one_url(client)
        answer = await raw(url, put_head(url, PDF, "Content-Length: 3") + b"abc")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" not in answer.lower()
        assert stored(client) == [True]


async def test_a_kept_connection_is_closed() -> None:
    """The second request over a connection finds it closed; over a new one it is answered."""
    async with sandboxed(Rule(kind="close_kept", step="put")) as client:
        url = await one_url(client)
        put = put_head(url, PDF, "Content-Length: 3") + b"abc"
        assert (await raw(url, put * 2)).count(b"HTTP/1.1 200 ") == 1
        put = put_head(url, PDF, "Content-Length: 3", "Connection: close") + b"abc"
        assert (await raw(url, put)).startswith(b"HTTP/1.1 200 ")
        assert client.sandbox.requests["lightreach", "put"] == 3


async def test_a_closed_port() -> None:
    """For some time after an answer connections are refused and the kept one is closed; then all is as before."""
    async with sandboxed(Rule(kind="close_port", step="init", seconds=0.2, times=1)) as client:
        url = await one_url(client)
        with pytest.raises(aiohttp.ClientConnectorError) as refusal:
            await client.put(url, b"abc", TYPE)
        assert refusal.value.errno == errno.ECONNREFUSED
        async with asyncio.timeout(30):
            while not stored(client)[0]:
                with suppress(aiohttp.ClientConnectorError):
                    await client.put(url, b"abc", TYPE)


async def test_the_port_of_a_sandbox_is_closed_and_opened() -> None:
    """A closed port stays the sandbox's: nobody else can listen there, and it listens again when it is told to."""
    async with sandboxed() as client:
        await client.sandbox.close_port()
        with pytest.raises(ConnectionRefusedError):
            await raw(client.sandbox.url, b"")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", yarl.URL(client.sandbox.url).port))
        await client.sandbox.open_port()
        assert (await client.init({"a.pdf": 1}))["jobId"]


async def test_dropped_stream() -> None:
    """A dropped stream ends in mid-answer, after so many events; the next stream is whole."""
    async with sandboxed(Rule(kind="drop_stream", events=1, times=1)) as client:
        job = (await client.init({"a.pdf": 1}))["jobId"]
        async with client.stream(job) as answer:
            assert await answer.content.readuntil(b"\n\n") == b'data: {"type":"awaitingUpload"}\n\n'
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
        async with client.stream(job) as answer:
            await answer.content.readuntil(b"\n\n")
            assert client.sandbox.requests.streams.open == 1


async def test_garbage_in_a_stream() -> None:
    """A stream may carry nonsense, then goes on."""
    async with sandboxed(Rule(kind="garbage_stream")) as client:
        job = await client.upload({"a.pdf": b"a"})
        await client.wait_for(job, "imageVariantsReady")
        async with client.stream(job) as answer:
            body = await answer.read()
        assert b"\xff\xfe" in body
        assert body.rstrip().endswith(b"}")
        assert b'data: {"type":"imageVariantsReady","documents":[' in body


async def test_silent_stream() -> None:
    """A stalled stream gives its events, then not even a heartbeat."""
    async with sandboxed(Rule(kind="stall", step="stream", events=1), options=FOREVER) as client:
        job = (await client.init({"a.pdf": 1}))["jobId"]
        async with client.stream(job) as answer:
            await answer.content.readuntil(b"\n\n")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await answer.content.read(1)


async def test_stream_answered_with_a_status() -> None:
    """A stream may be refused with a status too."""
    async with sandboxed(Rule(kind="status", step="stream", status=502)) as client:
        job = (await client.init({"a.pdf": 1}))["jobId"]
        assert (await client.api("GET", client.documents(f"/upload-progress?jobId={job}")))[0] == 502


async def test_url_expired_when_issued() -> None:
    """The store takes the matched file's URL for expired, the others are good."""
    async with sandboxed(Rule(kind="expired_url", match="b.pdf"), clock=Clock()) as client:
        first, second = (await client.init({"a.pdf": 1, "b.pdf": 1}))["files"]
        assert first["expiresAt"] == second["expiresAt"]
        assert (await client.put(first["uploadUrl"], b"a", TYPE))[0] == 200
        status, text = await client.put(second["uploadUrl"], b"b", TYPE)
        assert (status, "Request has expired" in text) == (403, True)
        assert client.sandbox.breaches == []


async def test_job_fails() -> None:
    """A job fails with the plan's words after its bytes have landed, and leaves no document."""
    async with sandboxed(Rule(kind="job_failed", message="virus found", match="bad", times=1)) as client:
        job = await client.upload({"bad.pdf": b"a"})
        assert await client.wait_for(job, "failed") == {"type": "failed", "error": "virus found"}
        assert client.sandbox.lightreach.documents == []
        assert await client.finished({"good.pdf": b"a"})


async def test_job_never_ends() -> None:
    """Nothing comes of a job, though its bytes have landed."""
    async with sandboxed(Rule(kind="job_never")) as client:
        job = await client.upload({"a.pdf": b"a"})
        await asyncio.sleep(0.05)
        assert (await client.poll(job))[1] == {"type": "awaitingUpload"}
        assert client.sandbox.lightreach.documents == []


async def test_wrong_hash() -> None:
    """Another MD5 is reported than that of the bytes; the truth stays true."""
    async with sandboxed(Rule(kind="wrong_hash", times=1)) as client:
        (wrong,), (right,) = [await client.finished({"a.pdf": b"a"}) for _ in range(2)]
        truth = client.sandbox.lightreach.documents[0].files[0].md5
        assert wrong["files"][0]["md5Hash"] != truth == right["files"][0]["md5Hash"]


async def test_match_looks_at_file_names() -> None:
    """A rule with ``match`` finds file names of an init, a PUT and a job."""
    async with sandboxed() as client:
        one = await client.init({"one.pdf": 1})
        two = await client.init({"two.pdf": 1})
        client.sandbox.faults = Faults(rules=(Rule(kind="status", status=500, match="two.pdf"),))
        body = {"files": [{"filename": "two.pdf", "size": 1}], "type": "utilityBill"}
        assert (await client.try_init(body))[0] == 500
        for job, expected in ((one, 200), (two, 500)):
            assert (await client.poll(job["jobId"]))[0] == expected
            assert (await client.put(job["files"][0]["uploadUrl"], b"a", TYPE))[0] == expected
