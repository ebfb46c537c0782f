"""The rules of an init at the LightReach stand-in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bulkup.sandbox import LightReachOptions
from tests.test_sandbox_support import Clock, sandboxed

FILE = {"filename": "a.pdf", "size": 3}
GOOD: dict[str, Any] = {"files": [FILE], "type": "utilityBill"}


async def test_answer_has_the_guides_shape() -> None:
    """Init answers 202 with a job and, in request order, where each file's bytes go."""
    clock = Clock()
    async with sandboxed(clock=clock) as client:
        names = ["b.pdf", "a.jpg", "b.pdf"]
        files = [{"filename": name, "size": 1, "contentType": "text/html"} for name in names]
        status, answer = await client.try_init({"files": files, "type": "utilityBill", "surprise": 1})
        assert status == 202
        assert answer["status"] == "awaitingUpload"
        assert answer["jobId"]
        assert [file["filename"] for file in answer["files"]] == names
        assert [file["contentType"] for file in answer["files"]] == ["application/pdf", "image/jpeg", "application/pdf"]
        assert all(file["stagingPath"].startswith("staging/") for file in answer["files"])
        assert len({file["uploadUrl"] for file in answer["files"]}) == 3
        expires = datetime.fromisoformat(answer["files"][0]["expiresAt"])
        assert expires == datetime.fromtimestamp(clock.now + 3600, UTC)
        assert client.sandbox.lightreach.documents == []
        assert client.sandbox.breaches == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": []}, "non-empty"),
        ({"files": None}, "non-empty"),
        ({"files": {"0": FILE}}, "non-empty"),
        ({"files": [FILE] * 26}, "at most 25"),
        ({"files": ["a.pdf"]}, "files[0]"),
        ({"files": [FILE, {"size": 3}]}, "files[1].filename"),
        ({"files": [{"filename": "", "size": 3}]}, "filename"),
        ({"files": [{"filename": "a.pdf"}]}, "size"),
        ({"files": [{"filename": "a.pdf", "size": "3"}]}, "size"),
        ({"files": [{"filename": "a.pdf", "size": 3.0}]}, "size"),
        ({"files": [{"filename": "a.pdf", "size": True}]}, "size"),
        ({"files": [{"filename": "a.pdf", "size": -1}]}, "size"),
        ({"type": None}, "type"),
        ({"type": ""}, "type"),
        ({"fields": [1]}, "fields"),
        ({"fields": {"grouped": "true"}}, "grouped"),
        ({"fields": {"externalReference": True}}, "externalReference"),
        ({"fields": {"externalReference": ["x"]}}, "externalReference"),
    ],
)
async def test_broken_rule(change: dict[str, object], words: str) -> None:
    """An init that breaks a rule of the guide is answered 400, makes no job and is a breach."""
    async with sandboxed() as client:
        status, error = await client.try_init({**GOOD, **change})
        assert status == 400
        assert words in error["message"]
        assert client.sandbox.lightreach.jobs == {}
        assert len(client.sandbox.breaches) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"x"'])
async def test_malformed_json(body: bytes) -> None:
    """A body that is no JSON object is answered 400."""
    async with sandboxed() as client:
        assert (await client.api("POST", client.documents(), data=body))[0] == 400


async def test_25_files_are_allowed() -> None:
    """25 files are the most that an init may have."""
    async with sandboxed() as client:
        assert (await client.try_init({**GOOD, "files": [FILE] * 25}))[0] == 202


async def test_type_in_fields() -> None:
    """The type may stand in ``fields``."""
    async with sandboxed() as client:
        status, answer = await client.try_init({"files": [FILE], "fields": {"type": "utilityBill"}})
        assert status == 202
        assert client.sandbox.lightreach.jobs[answer["jobId"]].init.type == "utilityBill"


async def test_unsupported_extension_names_what_is_allowed() -> None:
    """An extension that isn't allowed is answered 400, with the allowed values and the file's name."""
    async with sandboxed(options=LightReachOptions(extensions=frozenset({"pdf", "png"}))) as client:
        status, error = await client.try_init({**GOOD, "files": [FILE, {"filename": "bad.PDF.exe", "size": 1}]})
        assert status == 400
        assert error["allowedExtensions"] == ["pdf", "png"]
        assert "bad.PDF.exe" in error["message"]
        assert (await client.try_init({**GOOD, "files": [{"filename": "pdf", "size": 1}]}))[0] == 400
        assert (await client.try_init({**GOOD, "files": [{"filename": "A.PDF", "size": 1}]}))[0] == 202
        assert client.sandbox.breaches == []


async def test_unsupported_extension_without_the_name() -> None:
    """By a switch, the refusal doesn't say which file it was."""
    async with sandboxed(options=LightReachOptions(name_offender=False)) as client:
        _, error = await client.try_init({**GOOD, "files": [{"filename": "bad.exe", "size": 1}]})
        assert "bad.exe" not in error["message"]
        assert "pdf" in error["message"]


async def test_invalid_type() -> None:
    """A type that isn't in the list is answered 400."""
    async with sandboxed(options=LightReachOptions(types=frozenset({"utilityBill"}))) as client:
        assert (await client.try_init({**GOOD, "type": "other"}))[0] == 400
        assert (await client.try_init(GOOD))[0] == 202


async def test_largest_file() -> None:
    """A file above the largest size is answered 400."""
    async with sandboxed(options=LightReachOptions(max_size=2)) as client:
        assert (await client.try_init(GOOD))[0] == 400


async def test_signed_urls_not_available() -> None:
    """Without signed URLs init answers 503, with no ``Retry-After``."""
    async with sandboxed(options=LightReachOptions(signed_urls=False)) as client:
        async with client.http.post(client.documents(), json=GOOD, headers=client.bearer) as answer:
            assert answer.status == 503
            assert "Retry-After" not in answer.headers
        assert client.sandbox.breaches == []


@pytest.mark.parametrize("reference", ["007", 7, 7.5, None])
async def test_external_reference(reference: object) -> None:
    """The external reference, text or number, is on every document and comes back as it was."""
    async with sandboxed() as client:
        documents = await client.finished({"a.pdf": b"a", "b.pdf": b"b"}, externalReference=reference, grouped=False)
        assert [document["externalReference"] for document in documents] == [reference, reference]


@pytest.mark.parametrize(
    ("kind", "grouped", "expected"),
    [
        ("utilityBill", {"grouped": True}, [2]),
        ("utilityBill", {"grouped": False}, [1, 1]),
        ("utilityBill", {}, [2]),
        ("roofPhoto", {}, [1, 1]),
        ("roofPhoto", {"grouped": True}, [2]),
    ],
)
async def test_grouped(kind: str, grouped: dict[str, bool], expected: list[int]) -> None:
    """``grouped`` makes one document of all files, or one of each; left out, the type decides."""
    async with sandboxed() as client:
        body = {"files": [FILE, FILE], "type": kind, "fields": grouped}
        _, job = await client.try_init(body)
        for file in job["files"]:
            await client.put(file["uploadUrl"], b"abc", {"Content-Type": file["contentType"]})
        event = await client.wait_for(job["jobId"], "imageVariantsReady")
        assert [len(document["files"]) for document in event["documents"]] == expected


async def test_unknown_path() -> None:
    """A path that the guide doesn't have is answered 404, and is a breach."""
    async with sandboxed() as client:
        assert (await client.api("GET", f"{client.sandbox.url}/lightreach/api/v2/accounts/A-1/files"))[0] == 404
        assert len(client.sandbox.breaches) == 1
