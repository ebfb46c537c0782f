"""Presigned PUT and POST against a real S3 server: SeaweedFS, which checks the signatures itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bulkup.sandbox import Faults, LoanProOptions, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.vendors import CASES, Case, Held

pytestmark = [pytest.mark.s3, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
SIGNED = [case for case in CASES if case.id in {"lightreach", "loanpro", "kompliant-linked", "auco-url"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """Stand-ins that hand out URLs of SeaweedFS."""
    async with Sandbox(s3=True, options=LoanProOptions(attachment_before="empty")) as sandbox:
        yield sandbox


async def arrived(sandbox: Sandbox, case: Case, expected: Held) -> None:
    """Wait until the stand-in knows of what landed."""
    async with asyncio.timeout(10):
        while expected - case.held(sandbox):  # noqa: ASYNC110 - a real server tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case.id)
async def test_real_signatures_pass(archive: Archive, sandbox: Sandbox, case: Case) -> None:
    """Small and large files with awkward names arrive byte for byte."""
    expected: Held = Counter()
    for number, size in enumerate([1, 1000, 2_000_000]):
        row = case.row(number)
        content = b"%PDF-1.7 " + bytes(range(256)) * (size // 256 + 1)
        path = archive.add(f"{number} ä+~ #1.pdf", content, **row)
        expected[case.expected(row, path.name, sha256(path))] = 1
    summary = await archive.upload(sandbox, job_timeout=20)
    assert (summary.completed, summary.exit_code) == (3, 0), archive.ended()
    await arrived(sandbox, case, expected)
    assert not sandbox.breaches


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case.id)
async def test_an_expired_url_fails_clearly(archive: Archive, sandbox: Sandbox, case: Case) -> None:
    """The server's refusal is understood as expiry: a new init, or a failed row that says so."""
    archive.add("late.pdf", b"%PDF-1.7", **case.row(7))
    sandbox.faults = Faults(rules=(Rule(kind="expired_url", vendor=case.provider),))
    summary = await archive.upload(sandbox)
    sandbox.faults = Faults()
    assert (summary.failed, summary.exit_code) == (1, 1)
    (end,) = archive.ended().values()
    assert (end.stage, end.error_code) == ("transfer", "url_expired")
    assert "expired" in (end.error or "").lower()
    assert "Signature" not in (end.error or "")


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case.id)
async def test_a_tampered_signature_fails_clearly(
    archive: Archive, sandbox: Sandbox, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature that does not fit is refused at once, with the server's words, and nothing is stored."""
    signer = sandbox._stage.signer  # to sign with another key, as nobody outside can
    monkeypatch.setattr(type(signer), "digest", lambda *_: "0" * 64)
    archive.add("forged.pdf", b"%PDF-1.7", **case.row(8))
    summary = await archive.upload(sandbox)
    assert (summary.failed, summary.exit_code) == (1, 1)
    (end,) = archive.ended().values()
    assert (end.stage, end.error_code) == ("transfer", "store_refused")
    assert "SignatureDoesNotMatch" in (end.error or "")
    assert "0000" not in (end.error or "")
