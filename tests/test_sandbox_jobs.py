"""Upload jobs of the LightReach stand-in: the worker, the stream, polling."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from bulkup.sandbox import LightReachOptions
from tests.test_sandbox_support import PDF, sandboxed

QUICK = {"job_delay": 0, "variants_delay": 0}


async def read_events(answer: aiohttp.ClientResponse) -> list[Any]:
    """All events until the stream ends."""
    text = await answer.text()
    return [orjson.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


async def test_nothing_is_persisted_before_all_bytes_landed() -> None:
    """A job of which one file is missing stays ``awaitingUpload`` and leaves no document."""
    async with sandboxed() as client:
        job = await client.init({"a.pdf": 1, "b.pdf": 1})
        first, second = job["files"]
        await client.put(first["uploadUrl"], b"a", {"Content-Type": PDF})
        await asyncio.sleep(0.02)
        assert (await client.poll(job["jobId"])) == (200, {"type": "awaitingUpload"})
        assert client.sandbox.lightreach.documents == []
        await client.put(second["uploadUrl"], b"b", {"Content-Type": PDF})
        await client.wait_for(job["jobId"], "complete", "imageVariantsReady")
        (document,) = client.sandbox.lightreach.documents
        assert [(file.name, client.sandbox.store.read(file.key)) for file in document.files] == [
            ("a.pdf", b"a"),
            ("b.pdf", b"b"),
        ]


async def test_declared_size_must_come() -> None:
    """A job whose bytes differ from the declared size fails with a message, and is a breach."""
    async with sandboxed() as client:
        job = await client.init({"a.pdf": 3})
        await client.put(job["files"][0]["uploadUrl"], b"ab", {"Content-Type": PDF})
        event = await client.wait_for(job["jobId"], "failed")
        assert event == {"type": "failed", "error": "a.pdf: 2 bytes received, 3 declared"}
        assert client.sandbox.lightreach.documents == []
        assert len(client.sandbox.breaches) == 1


async def test_declared_size_may_be_ignored() -> None:
    """By a switch the declared size doesn't matter."""
    async with sandboxed(options=LightReachOptions(check_size=False, **QUICK)) as client:
        job = await client.init({"a.pdf": 3})
        await client.put(job["files"][0]["uploadUrl"], b"ab", {"Content-Type": PDF})
        await client.wait_for(job["jobId"], "imageVariantsReady")


async def test_first_event() -> None:
    """By a switch a new job says ``queued``."""
    async with sandboxed(options=LightReachOptions(first_event="queued")) as client:
        job = await client.init({"a.pdf": 3})
        assert (await client.poll(job["jobId"]))[1] == {"type": "queued"}


@pytest.mark.parametrize(
    ("variants", "streamed", "polled"),
    [
        ("after", ["awaitingUpload", "complete", "imageVariantsReady"], "imageVariantsReady"),
        ("before", ["awaitingUpload", "imageVariantsReady"], "complete"),
        ("instead", ["awaitingUpload", "imageVariantsReady"], "imageVariantsReady"),
    ],
)
async def test_order_of_events(variants: Any, streamed: list[str], polled: str) -> None:
    """``imageVariantsReady`` comes when the switch says, and ends the stream; polling gives the latest event."""
    async with sandboxed(options=LightReachOptions(variants=variants, **QUICK)) as client:
        job = await client.init({"a.pdf": 1})
        async with client.stream(job["jobId"]) as answer:
            await client.put(job["files"][0]["uploadUrl"], b"a", {"Content-Type": PDF})
            events = await read_events(answer)
        assert [event["type"] for event in events] == streamed
        assert events[-1]["documents"][0]["id"] == client.sandbox.lightreach.documents[0].id
        assert (await client.wait_for(job["jobId"], polled))["documents"]


async def test_stream_stays_open_after_complete() -> None:
    """``complete`` does not end the stream; heartbeats go on."""
    options = LightReachOptions(variants="never", heartbeat=0.01, job_delay=0)
    async with sandboxed(options=options) as client:
        job = await client.upload({"a.pdf": b"a"})
        await client.wait_for(job, "complete")
        async with client.stream(job) as answer:
            assert b'"complete"' in await answer.content.readuntil(b"\n\n")
            assert await answer.content.readuntil(b"\n\n") == b": heartbeat\n\n"
            assert await answer.content.readuntil(b"\n\n") == b": heartbeat\n\n"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("comment", b": heartbeat\n\n"),
        ("event", b"event: heartbeat\ndata: {}\n\n"),
        ("data", b'data: {"type":"heartbeat"}\n\n'),
    ],
)
async def test_heartbeat(form: Any, expected: bytes) -> None:
    """A silent stream carries heartbeats, in the form of the switch."""
    async with sandboxed(options=LightReachOptions(heartbeat=0.01, heartbeat_form=form)) as client:
        job = await client.init({"a.pdf": 1})
        async with client.stream(job["jobId"]) as answer:
            assert answer.content_type == "text/event-stream"
            assert await answer.content.readuntil(b"\n\n") == b'data: {"type":"awaitingUpload"}\n\n'
            assert await answer.content.readuntil(b"\n\n") == expected


async def test_late_stream_replays_the_latest_event() -> None:
    """A stream opened after the end gives the last event and ends."""
    async with sandboxed() as client:
        job = await client.upload({"a.pdf": b"a"})
        await client.wait_for(job, "imageVariantsReady")
        async with client.stream(job) as answer:
            assert [event["type"] for event in await read_events(answer)] == ["imageVariantsReady"]


async def test_two_streams_of_one_job() -> None:
    """Each stream of a job carries all of its events."""
    async with sandboxed() as client:
        job = await client.init({"a.pdf": 1})
        async with client.stream(job["jobId"]) as one, client.stream(job["jobId"]) as other:
            await client.put(job["files"][0]["uploadUrl"], b"a", {"Content-Type": PDF})
            assert len(await read_events(one)) == len(await read_events(other)) == 3
        assert client.sandbox.requests.streams.max == 2


async def test_left_stream_is_noticed() -> None:
    """A stream that the client leaves is not counted as open any more."""
    async with sandboxed() as client:
        job = await client.init({"a.pdf": 1})
        async with client.stream(job["jobId"]):
            assert client.sandbox.requests.streams.open == 1
        async with asyncio.timeout(2):
            while client.sandbox.requests.streams.open:  # noqa: ASYNC110 # the gauge has no event
                await asyncio.sleep(0.001)


async def test_unknown_or_foreign_job() -> None:
    """A job that isn't there, or is another account's, is answered 404 by both ways to follow it."""
    async with sandboxed() as client:
        job = (await client.init({"a.pdf": 1}))["jobId"]
        for name, account in (("nope", "A-1"), (job, "A-2")):
            assert (await client.poll(name, account))[0] == 404
            url = client.documents(f"/upload-progress?jobId={name}", account)
            assert (await client.api("GET", url))[0] == 404
        assert client.sandbox.breaches == []


async def test_late_put_changes_nothing() -> None:
    """A PUT after the documents are persisted leaves them as they are."""
    async with sandboxed() as client:
        job = await client.init({"a.pdf": 1})
        url = job["files"][0]["uploadUrl"]
        await client.put(url, b"a", {"Content-Type": PDF})
        await client.wait_for(job["jobId"], "imageVariantsReady")
        assert (await client.put(url, b"b", {"Content-Type": PDF}))[0] == 200
        await asyncio.sleep(0.02)
        (document,) = client.sandbox.lightreach.documents
        assert client.sandbox.store.read(document.files[0].key) == b"a"
