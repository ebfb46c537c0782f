"""Reading, archiving and the v1 upload of the LightReach stand-in."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import Any

import aiohttp
import pytest
import yarl

from bulkup.sandbox import LightReachOptions
from tests.test_sandbox_support import Client, Clock, sandboxed

QUICK = {"job_delay": 0, "variants_delay": 0}


async def fetch(client: Client, url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Download: status and bytes."""
    async with client.http.get(yarl.URL(url, encoded=True), headers=headers) as answer:
        return answer.status, await answer.read()


async def test_document_has_the_guides_shape() -> None:
    """A document has exactly the fields of the guide, with the hash and size of the bytes."""
    content = b"x" * 1600
    async with sandboxed() as client:
        (document,) = await client.finished({"Bill 1.pdf": content}, externalReference="r")
        assert set(document) == {
            "id", "accountId", "applicationId", "status", "archived", "type", "externalReference", "files", "meta"
        }  # fmt: skip
        assert (document["accountId"], document["type"], document["status"]) == ("A-1", "utilityBill", "pending")
        (file,) = document["files"]
        assert {name: file[name] for name in ("originalName", "contentType", "md5Hash", "sizeKB")} == {
            "originalName": "Bill 1.pdf",
            "contentType": "application/pdf",
            "md5Hash": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "sizeKB": 1,
        }
        assert [view["type"] for view in file["viewUrls"]] == ["original", "preview", "gallery", "thumbnail"]
        assert set(document["meta"]) == {"createdAt", "updatedAt"}


async def test_hash_and_size_switches() -> None:
    """By switches the hash is in base64 and the size rounded to the nearest."""
    content = b"x" * 1600
    async with sandboxed(options=LightReachOptions(md5_encoding="base64", size_rounding="nearest", **QUICK)) as client:
        (document,) = await client.finished({"a.pdf": content})
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        assert document["files"][0]["md5Hash"] == base64.b64encode(digest).decode()
        assert document["files"][0]["sizeKB"] == 2


async def test_no_variants_of_a_text() -> None:
    """A file that is neither an image nor a PDF has its original only."""
    async with sandboxed() as client:
        (document,) = await client.finished({"a.csv": b"1"})
        assert [view["type"] for view in document["files"][0]["viewUrls"]] == ["original"]


async def test_view_url_gives_the_bytes_until_it_expires() -> None:
    """A view URL gives the bytes without a bearer until ``expiresAt``; get and refresh sign a new one."""
    clock = Clock()
    async with sandboxed(options=LightReachOptions(view_life=60, **QUICK), clock=clock) as client:
        (document,) = await client.finished({"a.pdf": b"abc"})
        assert (await fetch(client, client.documents(f"/{document['id']}/files/0"), client.bearer))[0] == 404
        view = document["files"][0]["viewUrls"][0]
        assert datetime.fromisoformat(view["expiresAt"]).timestamp() == clock.now + 60
        assert await fetch(client, view["url"]) == (200, b"abc")
        assert (await client.put(view["url"], b"def", {}))[0] == 403
        assert (await fetch(client, view["url"], client.bearer))[0] == 403
        assert client.sandbox.leaks == 1
        clock.now += 61
        assert (await fetch(client, view["url"]))[0] == 403
        for method, rest in (("GET", ""), ("POST", "/refresh-urls")):
            status, again = await client.api(method, client.documents(f"/{document['id']}{rest}"))
            assert (status, again["id"]) == (200, document["id"])
            assert await fetch(client, again["files"][0]["viewUrls"][0]["url"]) == (200, b"abc")


async def test_sensitive_document() -> None:
    """A sensitive document's view URL is on the vendor's host, needs the bearer and has no ``expiresAt``."""
    async with sandboxed(options=LightReachOptions(sensitive_types=frozenset({"utilityBill"}), **QUICK)) as client:
        (document,) = await client.finished({"a.pdf": b"abc"})
        view = document["files"][0]["viewUrls"][0]
        assert "expiresAt" not in view
        assert view["url"].startswith(f"{client.sandbox.url}/lightreach/")
        assert (await fetch(client, view["url"]))[0] == 401
        assert await fetch(client, view["url"], client.bearer) == (200, b"abc")


async def test_list_order_and_archive() -> None:
    """The list is newest first unless asked; an archived document moves to the other list."""
    async with sandboxed() as client:
        ids = [(await client.finished({f"{number}.pdf": b"a"}))[0]["id"] for number in range(3)]
        await client.finished({"other.pdf": b"a"}, account="A-2")

        async def listed(query: str) -> list[str]:
            status, documents = await client.api("GET", client.documents(query))
            assert status == 200
            return [document["id"] for document in documents]

        assert await listed("") == await listed("?sort=ID_DESC") == ids[::-1]
        assert await listed("?sort=ID_ASC") == ids == sorted(ids)
        assert await client.api("DELETE", client.documents(f"/{ids[1]}")) == (204, None)
        assert await listed("?sort=ID_ASC&archived=false") == [ids[0], ids[2]]
        assert await listed("?archived=true") == [ids[1]]
        assert [document.archived for document in client.sandbox.lightreach.documents][:3] == [False, True, False]


@pytest.mark.parametrize("query", ["?sort=newest", "?archived=1"])
async def test_bad_list_parameter(query: str) -> None:
    """A list parameter that the guide doesn't have is answered 400."""
    async with sandboxed() as client:
        assert (await client.api("GET", client.documents(query)))[0] == 400


async def test_foreign_document() -> None:
    """Another account's document, or none, is answered 404."""
    async with sandboxed() as client:
        (document,) = await client.finished({"a.pdf": b"abc"})
        for method, rest in (("GET", ""), ("POST", "/refresh-urls"), ("DELETE", "")):
            for name, account in ((document["id"], "A-2"), ("nope", "A-1")):
                assert (await client.api(method, client.documents(f"/{name}{rest}", account)))[0] == 404


def form(*names: str, **fields: str) -> aiohttp.FormData:
    """A v1 form; each file's content is its name."""
    data = aiohttp.FormData(quote_fields=False)
    for name, value in fields.items():
        data.add_field(name, value)
    for name in names:
        data.add_field("files[]", name.encode(), filename=name)
    return data


async def v1(client: Client, data: object) -> tuple[int, Any]:
    """A v1 upload."""
    return await client.api("POST", f"{client.sandbox.url}/lightreach/api/accounts/A-1/documents", data=data)


@pytest.mark.parametrize(("grouped", "expected"), [("true", [2]), ("false", [1, 1])])
async def test_v1_answers_when_persisted(grouped: str, expected: list[int]) -> None:
    """The v1 upload answers with the documents, which are persisted then."""
    async with sandboxed(options=LightReachOptions(signed_urls=False)) as client:
        status, documents = await v1(client, form("a.pdf", "ü.png", type="utilityBill", grouped=grouped))
        assert status == 200
        assert [len(document["files"]) for document in documents] == expected
        held = client.sandbox.lightreach.documents
        assert [document.id for document in held] == [document["id"] for document in documents]
        files = [file for document in held for file in document.files]
        assert [client.sandbox.store.read(file.key).decode() for file in files] == ["a.pdf", "ü.png"]
        assert [file.name for file in files] == ["a.pdf", "ü.png"]


@pytest.mark.parametrize(
    "data",
    [
        form("a.pdf"),
        form(type="utilityBill", grouped="true"),
        form("a.exe", type="utilityBill"),
        form("a.pdf", type="utilityBill", grouped="yes"),
        {"type": "utilityBill"},
    ],
)
async def test_v1_broken_rule(data: object) -> None:
    """A v1 form without a type or file, or with a bad extension or value, is answered 400."""
    async with sandboxed() as client:
        assert (await v1(client, data))[0] == 400
        assert client.sandbox.lightreach.documents == []
