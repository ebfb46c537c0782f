"""The main job: a manifest goes through LightReach into the ledger."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

import bulkup
from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox
from tests.conftest import Archive, login, sha256, stored


async def test_every_file_arrives_once_with_its_bytes(archive: Archive) -> None:
    """Small and large files arrive byte for byte, one document each, and the ledger knows their ids and hashes."""
    dice = random.Random(1)
    sizes = [1, 5, 1000, 128 * 1024, 128 * 1024 + 1, 1024 * 1024, 3 * 1024 * 1024 + 7]
    paths = [archive.add(f"{size}.pdf", dice.randbytes(size)) for size in sizes]
    async with Sandbox() as sandbox:
        with blockbuster_ctx("bulkup"):  # fails if anything blocks the event loop
            summary = await archive.upload(sandbox)
        assert (summary.completed, summary.exit_code, summary.bytes) == (len(sizes), 0, sum(sizes))
        assert stored(sandbox) == sorted(("A-1", "utilityBill", None, ((p.name, sha256(p)),)) for p in paths)
        assert not sandbox.leaks
        assert not sandbox.breaches
        ids = {document.files[0].name: document.id for document in sandbox.lightreach.documents}
        md5s = {document.files[0].name: document.files[0].md5 for document in sandbox.lightreach.documents}
    for row in archive.ledger_rows():
        assert row["state"] == "completed"
        assert row["document_id"] == ids[row["filename"]]
        assert row["md5"] == md5s[row["filename"]]
        assert row["attempts"] == 1
        assert row["initiated_at"] <= row["stored_at"] <= row["finished_at"]


async def test_each_init_carries_only_what_may_share_it(archive: Archive) -> None:
    """60 rows of three accounts, two types, references, groups and equal names: at most 25 an init, right bytes."""
    for number in range(60):
        columns = {"account_id": f"A-{number % 3}", "type": ("utilityBill", "roofPhoto")[number % 2]}
        if number % 5 == 0:
            columns["external_reference"] = f"ref-{number % 2}"
        if number in {6, 12, 18, 36}:  # one account and type
            columns["group"] = "pages"
        archive.add(f"folder{number}/scan.pdf", f"bytes {number}".encode(), **columns)
    for number in range(60):
        archive.add(f"more/{number}.png", account_id="A-9", type="utilityBill")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert summary.completed == summary.rows == 120
        inits = sandbox.lightreach.jobs.values()
        assert max(len(job.files) for job in inits) == 25
        assert sum(len(job.files) for job in inits) == 120
        assert sorted(len(job.files) for job in inits if job.account == "A-9") == [10, 25, 25]
        truth = stored(sandbox)
        assert not sandbox.breaches
    single: list[object] = []
    bundled: dict[tuple[str, str, str | None], set[tuple[str, str]]] = {}
    for row in archive.rows:
        file = (Path(row["path"]).name, sha256(archive.folder / row["path"]))
        group = (row["account_id"], row["type"], row.get("external_reference"))
        if "group" in row:
            bundled.setdefault(group, set()).add(file)
        else:
            single.append((*group, (file,)))
    assert [entry for entry in truth if len(entry[3]) == 1] == sorted(
        single + [(*group, tuple(files)) for group, files in bundled.items() if len(files) == 1], key=repr
    )
    several = {entry[:3]: set(entry[3]) for entry in truth if len(entry[3]) > 1}
    assert several == {group: files for group, files in bundled.items() if len(files) > 1}
    assert several


async def test_the_same_command_again_sends_nothing(archive: Archive) -> None:
    """A second run over completed rows asks the vendor for nothing at all."""
    for number in range(30):
        archive.add(f"{number}.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        before = dict(sandbox.requests)
        again = await archive.upload(sandbox)
        assert (again.skipped, again.completed, again.exit_code) == (30, 0, 0)
        assert dict(sandbox.requests) == before
        assert {event.state for event in archive.ended().values()} == {"skipped"}


async def test_requests_per_document(archive: Archive) -> None:
    """100 files of one account cost 4 inits, 100 PUTs and 4 streams, and nothing else."""
    for number in range(100):
        archive.add(f"{number}.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        counts = {step: count for (_, step), count in sandbox.requests.items()}
        assert counts == {"init": 4, "put": 100, "stream": 4}


async def test_names_arrive_as_they_are(archive: Archive) -> None:
    """Names with #, %, spaces, quotes, accents (NFC and NFD) and leading zeros survive; so do ``NA`` and references."""
    names = ["a #1.pdf", "50%.pdf", "caf\u00e9.pdf", "cafe\u0301.pdf", 'it\'s "so".pdf', "日本語.pdf", " lead.pdf"]
    for name in names:
        archive.add(name, account_id="007", external_reference="NA")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert summary.completed == len(names)
        truth = {(entry[0], entry[2], entry[3][0][0]) for entry in stored(sandbox)}
        assert truth == {("007", "NA", name) for name in names}


async def test_a_file_name_that_is_not_utf8_is_refused_by_name(archive: Archive) -> None:
    """Undecodable bytes in a path are refused with the row's number, and nothing is sent."""
    archive.add("good.pdf")
    manifest = archive.manifest()
    manifest.write_bytes(manifest.read_bytes() + b"caf\xe9.pdf,A-1,utilityBill\n")
    async with Sandbox() as sandbox:
        with pytest.raises(bulkup.ManifestError, match=r"row 2 .*'path': is not UTF-8 text .*caf.*e9\.pdf"):
            await archive.upload(sandbox, manifest)
        assert not sandbox.requests


async def test_changed_content_is_uploaded_and_the_former_id_kept(archive: Archive) -> None:
    """--on-change upload (the default) makes a new document; a touched file with the same bytes is skipped."""
    path = archive.add("a.pdf", b"first")
    touched = archive.add("b.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        (first,) = (row["document_id"] for row in archive.ledger_rows() if row["filename"] == "a.pdf")
        path.write_bytes(b"other")
        os.utime(touched, ns=(1, 1))
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.skipped) == (1, 1)
        assert len(sandbox.lightreach.documents) == 3
    (row,) = (row for row in archive.ledger_rows() if row["filename"] == "a.pdf")
    assert row["document_id"] != first
    assert archive.former_ids() == [first]


@pytest.mark.parametrize(("on_change", "state", "exit_code"), [("skip", "skipped", 0), ("fail", "failed", 1)])
async def test_changed_content_can_be_skipped_or_refused(
    archive: Archive, on_change: str, state: str, exit_code: int
) -> None:
    """--on-change skip and fail send nothing; after a failure the row is still known as completed content."""
    path = archive.add("a.pdf", b"first")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        path.write_bytes(b"other")
        for _ in range(2):
            summary = await archive.upload(sandbox, on_change=on_change)
            assert archive.ended()[1].state == state
            assert summary.exit_code == exit_code
        assert len(sandbox.lightreach.documents) == 1


async def test_a_page_that_changed_sends_its_whole_group_again(archive: Archive) -> None:
    """A group is one document: if one of its files is to be sent, all are."""
    for number in range(3):
        archive.add(f"{number}.png", group="scan")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        (archive.folder / "1.png").write_bytes(b"rescanned")
        summary = await archive.upload(sandbox)
        assert summary.completed == 3
        assert [len(document.files) for document in sandbox.lightreach.documents] == [3, 3]


async def test_a_completed_file_that_was_deleted_since_is_skipped(archive: Archive) -> None:
    """What is completed stays completed, also when the local copy is gone."""
    archive.add("a.pdf").chmod(0o600)
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
        (archive.folder / "a.pdf").unlink()
        summary = await archive.upload(sandbox)
        assert (summary.skipped, summary.exit_code) == (1, 0)


async def test_login_with_username_and_password(archive: Archive) -> None:
    """Without a token the machine user logs in, once; an expired token is replaced."""
    for number in range(60):
        archive.add(f"{number}.pdf", external_reference=str(number))
    options = LightReachOptions()
    async with Sandbox(options=options) as sandbox:
        summary = await archive.upload(sandbox, environment=login(sandbox, options))
        assert summary.completed == 60
        assert sandbox.requests["lightreach", "login"] == 1


async def test_a_token_that_is_refused_is_renewed_once(archive: Archive) -> None:
    """A 401 in the middle leads to one new login, and the call is repeated."""
    for number in range(20):
        archive.add(f"{number}.pdf", external_reference=str(number))
    options = LightReachOptions()
    faults = Faults(rules=(Rule(kind="status", step="init", status=401, times=1, after=5),))
    async with Sandbox(options=options, faults=faults) as sandbox:
        summary = await archive.upload(sandbox, environment=login(sandbox, options))
        assert summary.completed == 20
        assert sandbox.requests["lightreach", "login"] == 2


async def test_fallback_to_v1_when_signed_urls_are_not_available(archive: Archive) -> None:
    """Two 503 without Retry-After: multipart uploads for the rest of the run, one per document, said once."""
    for number in range(30):
        archive.add(f"{number}.pdf")
    for number in range(3):
        archive.add(f"page{number}.png", group="scan")
    async with Sandbox(options=LightReachOptions(signed_urls=False)) as sandbox:
        summary = await archive.upload(sandbox)
        assert summary.completed == 33
        assert sandbox.requests["lightreach", "v1"] == 31
        assert len([notice for notice in archive.notices() if "v1" in notice]) == 1
        assert len(sandbox.lightreach.documents) == 31
        by_name = {file.name: file.sha256 for document in sandbox.lightreach.documents for file in document.files}
        assert by_name == {path.name: sha256(path) for path in archive.folder.glob("*.p[dn][fg]")}
        assert not sandbox.breaches
        again = await archive.upload(sandbox)
        assert again.skipped == 33


async def test_a_passing_503_is_no_reason_to_fall_back(archive: Archive) -> None:
    """One 503, or any with Retry-After, is retried on v2."""
    archive.add("a.pdf")
    archive.add("b.pdf", account_id="B")
    faults = Faults(
        rules=(
            Rule(kind="status", step="init", status=503, times=1, match="A-1"),
            Rule(kind="status", step="init", status=503, retry_after=0, times=3, match="accounts/B"),
        )
    )
    async with Sandbox(faults=faults) as sandbox:
        summary = await archive.upload(sandbox, retry_for=5)
        assert summary.completed == 2
        assert sandbox.requests["lightreach", "v1"] == 0


@pytest.mark.parametrize("variants", ["before", "after", "never", "instead"])
async def test_either_order_of_the_final_events(archive: Archive, variants: str) -> None:
    """``complete`` and ``imageVariantsReady`` both prove success, in either order or alone."""
    for number in range(10):
        archive.add(f"{number}.pdf", external_reference=str(number))
    async with Sandbox(options=LightReachOptions.model_validate({"variants": variants})) as sandbox:
        assert (await archive.upload(sandbox)).completed == 10
