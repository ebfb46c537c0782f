"""The vendor's other operations as library calls: list, get, refresh URLs, download, archive."""

from __future__ import annotations

import pytest

import bulkup
from bulkup.sandbox import LightReachOptions, Sandbox
from tests.conftest import Archive


async def test_list_get_refresh_download_archive(archive: Archive) -> None:
    """What was uploaded is listed, read back byte for byte, and archived."""
    for number in range(3):
        archive.add(f"{number}.pdf", external_reference=f"ref-{number}")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        async with bulkup.connect("lightreach", environment=sandbox.environment()) as client:
            newest = await client.list_documents("A-1")
            oldest = await client.list_documents("A-1", newest_first=False)
            assert [d.id for d in newest] == [d.id for d in reversed(oldest)]
            document = next(d for d in newest if d.external_reference == "ref-1")
            got = await client.get_document("A-1", document.id)
            assert (got.target, got.type, got.archived) == ("account:A-1", "utilityBill", False)
            assert got.files[0].name == "1.pdf"
            assert any(url.kind == "original" for url in got.files[0].urls)
            refreshed = await client.refresh_urls("A-1", document.id)
            assert [url.kind for url in refreshed.files[0].urls] == [url.kind for url in got.files[0].urls]
            assert sandbox.requests["lightreach", "refresh"] == 1
            assert await client.download_document("A-1", document.id) == [("1.pdf", b"content of 1.pdf")]
            await client.archive_document("A-1", document.id)
            assert document.id not in {d.id for d in await client.list_documents("A-1")}
            assert [d.id for d in await client.list_documents("A-1", archived=True)] == [document.id]
            with pytest.raises(bulkup.StepError, match="not_found"):
                await client.get_document("A-2", document.id)
        assert not sandbox.leaks


async def test_a_sensitive_document_is_read_with_the_bearer(archive: Archive) -> None:
    """A proxy URL of the vendor's own wants the credentials, a signed one must not get them."""
    archive.add("a.pdf", type="idCard")
    archive.add("b.pdf")
    options = LightReachOptions(sensitive_types=frozenset({"idCard"}))
    async with Sandbox(options=options) as sandbox:
        await archive.upload(sandbox)
        async with bulkup.connect("lightreach", environment=sandbox.environment()) as client:
            for document in await client.list_documents("A-1"):
                ((name, content),) = await client.download_document("A-1", document.id)
                assert content == f"content of {name}".encode()
        assert not sandbox.leaks


async def test_an_expired_view_url_is_refreshed_once(archive: Archive) -> None:
    """A URL that expired meanwhile is made anew, once; one that is born expired is an error with its own code."""
    archive.add("a.pdf")
    async with Sandbox(options=LightReachOptions(view_life=0.000_001)) as sandbox:
        await archive.upload(sandbox)
        async with bulkup.connect("lightreach", environment=sandbox.environment()) as client:
            (document,) = await client.list_documents("A-1")
            with pytest.raises(bulkup.StepError, match="url_expired"):
                await client.download_document("A-1", document.id)
        assert sandbox.requests["lightreach", "refresh"] == 1


async def test_no_signed_url_is_in_a_repr(archive: Archive) -> None:
    """Documents, files and URLs print without what opens them."""
    archive.add("a.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        async with bulkup.connect("lightreach", environment=sandbox.environment()) as client:
            (document,) = await client.list_documents("A-1")
            (view, *_) = document.files[0].urls
            shown = f"{document!r} {document.files!r} {document.files[0].urls!r} {view} {client!r}"
    assert "X-Amz" not in shown
    assert view.url.value.partition("?")[2] not in shown


async def test_an_unknown_vendor_is_named() -> None:
    """A vendor that bulkup does not know is a configuration error that lists the known ones."""
    with pytest.raises(bulkup.ConfigError, match="known are lightreach"):
        async with bulkup.connect("lightreech"):
            pass
