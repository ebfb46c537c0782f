"""The object store behind the signed URLs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from bulkup.sandbox import LightReachOptions, Sandbox
from tests.test_sandbox_support import PDF, Client, Clock, put_head, raw, sandboxed


async def one_file(client: Client, size: int = 3) -> Any:
    """The init answer's entry for one file."""
    return (await client.init({"a.pdf": size}))["files"][0]


def key_of(file: dict[str, str]) -> str:
    """The store's key of a file that awaits its bytes."""
    return f"lightreach/{file['stagingPath']}"


async def test_bytes_are_stored() -> None:
    """A PUT with the Content-Type of the init's answer is stored."""
    async with sandboxed() as client:
        file = (await client.init({"a.pdf": 3, "b.pdf": 3}))["files"][0]
        assert await client.put(file["uploadUrl"], b"abc", {"Content-Type": PDF}) == (200, "")
        assert client.sandbox.store.read(key_of(file)) == b"abc"
        assert client.sandbox.requests["lightreach", "put"] == 1
        assert client.sandbox.breaches == []


async def test_second_put_overwrites() -> None:
    """While the URL lives, and its job waits, a second PUT replaces the bytes."""
    async with sandboxed() as client:
        file = (await client.init({"a.pdf": 3, "b.pdf": 3}))["files"][0]
        for body in (b"abc", b"def"):
            assert (await client.put(file["uploadUrl"], body, {"Content-Type": PDF}))[0] == 200
        assert client.sandbox.store.read(key_of(file)) == b"def"


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "image/png"}, {"Content-Type": f"{PDF}; charset=utf-8"}, {"Content-Type": ""}]
)
async def test_content_type_is_bound(headers: dict[str, str]) -> None:
    """Any other Content-Type, or none, is answered 403 SignatureDoesNotMatch, and nothing is stored."""
    async with sandboxed() as client:
        file = await one_file(client)
        status, text = await client.put(file["uploadUrl"], b"abc", headers)
        assert status == 403
        assert "<Code>SignatureDoesNotMatch</Code>" in text
        assert key_of(file) not in client.sandbox.store
        assert len(client.sandbox.breaches) == 1


async def test_reencoded_url() -> None:
    """A URL whose query was decoded and encoded anew no longer fits its signature."""
    async with sandboxed() as client:
        file = await one_file(client)
        url = file["uploadUrl"]
        assert "%2F" in url
        assert (await client.put(url.replace("%2F", "/"), b"abc", {"Content-Type": PDF}))[0] == 403


async def test_url_is_bound_to_method_and_key() -> None:
    """A URL for one object's PUT opens neither its GET nor another object."""
    async with sandboxed() as client:
        first, second = (await client.init({"a.pdf": 3, "b.pdf": 3}))["files"]
        swapped = first["uploadUrl"].replace(first["stagingPath"], second["stagingPath"])
        assert swapped != first["uploadUrl"]
        assert (await client.put(swapped, b"abc", {"Content-Type": PDF}))[0] == 403
        async with client.http.get(yarl.URL(first["uploadUrl"], encoded=True)) as answer:
            assert answer.status == 403


@pytest.mark.parametrize("part", ["X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"])
async def test_missing_part_of_the_query(part: str) -> None:
    """A URL that lost a part of its query is answered 400."""
    async with sandboxed() as client:
        file = await one_file(client)
        path, _, query = file["uploadUrl"].partition("?")
        rest = "&".join(item for item in query.split("&") if not item.startswith(part))
        status, text = await client.put(f"{path}?{rest}", b"abc", {"Content-Type": PDF})
        assert (status, "AuthorizationQueryParametersError" in text) == (400, True)


async def test_expired_url() -> None:
    """A URL is good until its time is over, then it is answered 403 "Request has expired"."""
    clock = Clock()
    async with sandboxed(options=LightReachOptions(url_life=60), clock=clock) as client:
        file = (await client.init({"a.pdf": 3, "b.pdf": 3}))["files"][0]
        clock.now += 60
        assert (await client.put(file["uploadUrl"], b"abc", {"Content-Type": PDF}))[0] == 200
        clock.now += 0.01
        status, text = await client.put(file["uploadUrl"], b"def", {"Content-Type": PDF})
        assert status == 403
        assert "<Code>AccessDenied</Code><Message>Request has expired</Message><X-Amz-Expires>" in text
        assert client.sandbox.store.read(key_of(file)) == b"abc"


async def test_gcs_dialect() -> None:
    """By a switch the store answers as Google Cloud Storage: 400 ExpiredToken, 403 "Access denied."."""
    clock = Clock()
    async with sandboxed(options=LightReachOptions(store="gcs"), clock=clock) as client:
        file = await one_file(client)
        status, text = await client.put(file["uploadUrl"], b"abc", {"Content-Type": "image/png"})
        assert (status, "<Message>Access denied.</Message>" in text) == (403, True)
        clock.now += 3601
        status, text = await client.put(file["uploadUrl"], b"abc", {"Content-Type": PDF})
        assert (status, "<Code>ExpiredToken</Code>" in text) == (400, True)


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
async def test_leaked_credential(header: str) -> None:
    """A credential on a signed URL is answered 403 and counted as a leak; nothing is stored."""
    async with sandboxed() as client:
        file = await one_file(client)
        status, _ = await client.put(file["uploadUrl"], b"abc", {"Content-Type": PDF, header: "access_token=x"})
        assert status == 403
        assert client.sandbox.leaks == 1
        assert key_of(file) not in client.sandbox.store
        assert "X-Amz" not in str(client.sandbox.breaches)


async def test_unsigned_amz_header() -> None:
    """An ``x-amz-*`` header that isn't signed is answered 403."""
    async with sandboxed() as client:
        file = await one_file(client)
        headers = {"Content-Type": PDF, "X-Amz-Meta-Wrong": "1"}
        status, text = await client.put(file["uploadUrl"], b"abc", headers)
        assert (status, "<HeadersNotSigned>X-Amz-Meta-Wrong</HeadersNotSigned>" in text) == (403, True)


async def test_chunked_body() -> None:
    """A chunked body is answered 501."""

    async def body() -> Any:
        yield b"abc"

    async with sandboxed() as client:
        file = await one_file(client)
        target = yarl.URL(file["uploadUrl"], encoded=True)
        async with client.http.put(target, data=body(), headers={"Content-Type": PDF}) as answer:
            assert answer.status == 501
            assert "<Header>Transfer-Encoding</Header>" in await answer.text()
        assert key_of(file) not in client.sandbox.store


async def test_no_length() -> None:
    """A PUT without a Content-Length is answered 411."""
    async with sandboxed() as client:
        file = await one_file(client)
        answer = await raw(client.sandbox.url, put_head(file["uploadUrl"], PDF, "Connection: close"))
        assert answer.startswith(b"HTTP/1.1 411 ")


async def test_short_body_stores_nothing() -> None:
    """A body that ends before its Content-Length leaves no object, and the job waits on."""
    async with sandboxed() as client:
        job = await client.init({"a.pdf": 3})
        file = job["files"][0]
        await raw(client.sandbox.url, put_head(file["uploadUrl"], PDF, "Content-Length: 3") + b"ab", shut=True)
        await asyncio.sleep(0.05)
        assert key_of(file) not in client.sandbox.store
        assert (await client.poll(job["jobId"]))[1] == {"type": "awaitingUpload"}
        assert client.sandbox.requests.puts.open == 0


async def test_empty_object() -> None:
    """An empty file is stored as such."""
    async with sandboxed() as client:
        documents = await client.finished({"a.pdf": b""})
        assert documents[0]["files"][0]["sizeKB"] == 0


async def test_puts_in_flight_are_gauged() -> None:
    """The sandbox knows how many PUTs there were at once."""
    async with sandboxed() as client:
        files = (await client.init({"a.pdf": 1, "b.pdf": 1, "c.pdf": 1}))["files"]
        heads = [put_head(file["uploadUrl"], PDF, "Content-Length: 1") for file in files]
        port = yarl.URL(client.sandbox.url).port
        writers = []
        for head in heads:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            writers.append(writer)
        async with asyncio.timeout(2):
            while client.sandbox.requests.puts.open < 3:  # noqa: ASYNC110 # the gauge has no event
                await asyncio.sleep(0.001)
        for writer in writers:
            writer.write(b"x")
            writer.close()
        assert client.sandbox.requests.puts.max == 3


async def test_objects_on_disk(tmp_path: Path) -> None:
    """With a data folder the bytes are in files, first where they were staged, then with their document."""
    options = LightReachOptions(job_delay=0, variants_delay=0)
    async with Sandbox(data=tmp_path, options=options) as sandbox, aiohttp.ClientSession() as http:
        client = Client(sandbox, http)
        content = b"x" * 1_000_000
        await client.finished({"a.pdf": content})
        stored = sandbox.lightreach.documents[0].files[0]
        assert await asyncio.to_thread((tmp_path / stored.key).read_bytes) == content
        assert await asyncio.to_thread(sandbox.store.read, stored.key) == content


async def test_short_body_leaves_no_file(tmp_path: Path) -> None:
    """With a data folder, a body that ends early leaves no file behind."""

    def names() -> list[str]:
        return [path.name for path in tmp_path.rglob("*") if path.is_file()]

    async with Sandbox(data=tmp_path) as sandbox, aiohttp.ClientSession() as http:
        file = await one_file(Client(sandbox, http))
        _, writer = await asyncio.open_connection("127.0.0.1", yarl.URL(sandbox.url).port)
        writer.write(put_head(file["uploadUrl"], PDF, "Content-Length: 3") + b"ab")
        async with asyncio.timeout(2):
            while not await asyncio.to_thread(names):  # noqa: ASYNC110 # a folder has no event
                await asyncio.sleep(0.001)
            writer.close()
            while await asyncio.to_thread(names):  # noqa: ASYNC110 # a folder has no event
                await asyncio.sleep(0.001)
        assert key_of(file) not in sandbox.store
