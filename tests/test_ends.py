"""How things end that do not go well: each row in one true state, with a stage, a code and the vendor's words."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import bulkup
from bulkup import content
from bulkup.errors import LedgerWriteError
from bulkup.ledger import Ledger
from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox
from tests.conftest import Archive, sha256, stored


def fault(**rule: object) -> Faults:
    """A plan of one rule."""
    return Faults(rules=(Rule.model_validate(rule),))


async def test_a_bad_file_fails_alone(archive: Archive) -> None:
    """Missing, empty, a folder: each fails at preflight with its code; the others of the batch go on."""
    for number in range(5):
        archive.add(f"{number}.pdf")
    archive.row("missing.pdf")
    archive.add("empty.pdf", b"")
    (archive.folder / "folder.pdf").mkdir()
    archive.row("folder.pdf")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed, summary.exit_code) == (5, 3, 1)
        ended = archive.ended()
        assert [ended[row].error_code for row in (6, 7, 8)] == ["file_missing", "file_empty", "not_a_file"]
        assert {ended[row].stage for row in (6, 7, 8)} == {"preflight"}
        assert sandbox.requests["lightreach", "init"] == 1
        assert (await archive.upload(sandbox, allow_empty=True)).failed == 2


async def test_a_bad_page_fails_its_group(archive: Archive) -> None:
    """Half a document is none: the group fails together, the culprit with its own reason."""
    archive.add("1.png", group="scan")
    archive.row("2.png", group="scan")
    archive.add("alone.png")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (1, 2)
        assert [archive.ended()[row].error_code for row in (1, 2)] == ["group_incomplete", "file_missing"]
        (archive.folder / "2.png").write_bytes(b"found again")
        assert (await archive.upload(sandbox)).completed == 2


async def test_a_file_that_keeps_changing_is_never_sent(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes while it is read is read once more, then failed; no mixture arrives."""
    path = archive.add("a.pdf", b"x" * (3 * content.CHUNK))
    archive.add("b.pdf")
    took = content._Reader._took  # the only moment at which the file can be changed under the reader

    def changing(reader: content._Reader, data: bytes | memoryview) -> None:
        took(reader, data)
        if reader._path == str(path):
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))

    monkeypatch.setattr(content._Reader, "_took", changing)
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (1, 1)
        assert archive.ended()[1].error_code == "file_changed"
        assert [file for *_, files in stored(sandbox) for file in files] == [
            ("b.pdf", sha256(archive.folder / "b.pdf"))
        ]
        assert not sandbox.breaches


async def test_a_file_that_changed_once_arrives_as_it_is_now(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was replaced while it was sent goes up whole on the second reading."""
    path = archive.add("a.pdf", b"x" * (3 * content.CHUNK))
    took = content._Reader._took
    changes: Iterator[bytes] = iter([b"y" * (2 * content.CHUNK)])

    def changing(reader: content._Reader, data: bytes | memoryview) -> None:
        took(reader, data)
        for new in changes:
            path.write_bytes(new)
            break

    monkeypatch.setattr(content._Reader, "_took", changing)
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox)).completed == 1
        assert stored(sandbox) == [("A-1", "utilityBill", None, (("a.pdf", sha256(path)),))]


async def test_an_unsupported_extension_takes_only_itself_out(archive: Archive) -> None:
    """A 400 for one file of 25 fails that row with the vendor's list, and the others complete."""
    for number in range(24):
        archive.add(f"{number}.pdf")
    archive.add("bad.exe")
    async with Sandbox(options=LightReachOptions(name_offender=False)) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (24, 1)
        end = archive.ended()[25]
        assert (end.stage, end.error_code) == ("init", "rejected")
        assert "pdf" in (end.error or "")
        assert sandbox.requests["lightreach", "init"] == 3


async def test_a_refused_name_among_equal_extensions_is_found_by_halves(archive: Archive) -> None:
    """When the extension does not tell, the batch is halved until the refused file stands alone."""
    for number in range(25):
        archive.add(f"{number}.pdf", b"x" * (200 if number == 13 else 10))
    async with Sandbox(options=LightReachOptions(max_size=100)) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (24, 1)
        assert archive.ended()[14].error_code == "rejected"


async def test_a_wrong_token_stops_the_vendor(archive: Archive) -> None:
    """401: what was tried has failed, the rest stays pending, one line says why, and nothing is created."""
    for number in range(100):
        archive.add(f"{number}.pdf", external_reference=str(number))
    async with Sandbox() as sandbox:
        environment = sandbox.environment() | {"BULKUP_LIGHTREACH_TOKEN": "wrong"}
        summary = await archive.upload(sandbox, environment=environment, concurrency=4)
        assert summary.failed + summary.pending == 100
        assert 1 <= summary.failed <= 4
        assert summary.exit_code == 1
        assert {end.error_code for end in archive.ended().values()} == {"unauthorized"}
        assert len(archive.notices()) == 1
        assert (await archive.upload(sandbox)).completed == 100


async def test_a_foreign_account_fails_its_own_rows(archive: Archive) -> None:
    """403 on one account is permanent for its rows; the other accounts complete."""
    archive.add("a.pdf")
    archive.add("b.pdf", account_id="foreign")
    async with Sandbox(options=LightReachOptions(forbidden_accounts=frozenset({"foreign"}))) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (1, 1)
        assert archive.ended()[2].error_code == "forbidden"
        assert sandbox.requests["lightreach", "init"] == 2


async def test_a_host_that_refuses_connections(archive: Archive) -> None:
    """Nothing ever left, so the rows are failed or pending, never unknown; the next run sends them."""
    for number in range(50):
        archive.add(f"{number}.pdf", external_reference=str(number))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with Sandbox() as sandbox:
            summary = await archive.upload(sandbox, base_url=url, concurrency=4)
            assert (summary.unknown, summary.completed, summary.exit_code) == (0, 0, 1)
            assert {end.error_code for end in archive.ended().values()} == {"unreachable"}
            assert (await archive.upload(sandbox)).completed == 50


async def test_a_put_with_403_fails_its_row_only(archive: Archive) -> None:
    """The job can't complete without the refused file, so the others go through a new init, once each."""
    for number in range(9):
        archive.add(f"{number}.pdf")
    archive.add("refused.pdf")
    faults = fault(kind="status", step="put", status=403, match="refused")
    async with Sandbox(faults=faults) as sandbox:
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.failed) == (9, 1)
        end = archive.ended()[10]
        assert (end.stage, end.error_code) == ("transfer", "store_refused")
        assert len(sandbox.lightreach.documents) == 9


@pytest.mark.parametrize("stage", ["early", "status"])
async def test_an_early_refusal_is_read(archive: Archive, stage: str) -> None:
    """A store that refuses before it read the body is heard: its words, not a broken pipe."""
    archive.add("large.pdf", b"x" * (4 * content.CHUNK))
    async with Sandbox(faults=fault(kind=stage, step="put", status=403)) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        assert archive.ended()[1].error_code == "store_refused"


async def test_a_job_that_fails(archive: Archive) -> None:
    """``failed`` ends the row with the vendor's message; the next run tries again."""
    archive.add("a.pdf")
    faults = fault(kind="job_failed", message="virus found", times=1)
    async with Sandbox(faults=faults) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        end = archive.ended()[1]
        assert (end.stage, end.error_code, end.error) == ("confirm", "job_failed", "virus found")
        assert (await archive.upload(sandbox)).completed == 1


async def test_a_job_that_never_ends_is_unknown(archive: Archive) -> None:
    """Past the deadline the row is unknown with its job id; it is asked about again, and never sent again unasked."""
    archive.add("a.pdf")
    async with Sandbox(faults=fault(kind="job_never")) as sandbox:
        summary = await archive.upload(sandbox, job_timeout=0.3)
        assert (summary.unknown, summary.exit_code) == (1, 3)
        (row,) = archive.ledger_rows()
        assert (row["state"], row["error_code"], bool(row["job_id"])) == ("unknown", "job_timeout", True)
        sandbox.faults = Faults()
        assert (await archive.upload(sandbox, job_timeout=0.3)).unknown == 1
        assert sandbox.requests["lightreach", "init"] == 1
        assert (await archive.upload(sandbox, retry_unknown=True)).completed == 1


async def test_a_stream_that_drops_each_time(archive: Archive) -> None:
    """After a few reconnections the job is polled."""
    archive.add("a.pdf")
    faults = fault(kind="drop_stream", step="stream", events=0)
    async with Sandbox(faults=faults, options=LightReachOptions(job_delay=0.1)) as sandbox:
        assert (await archive.upload(sandbox, job_timeout=20)).completed == 1
        assert sandbox.requests["lightreach", "stream"] <= 4
        assert sandbox.requests["lightreach", "job"] >= 1


async def test_a_stream_full_of_garbage(archive: Archive) -> None:
    """What is no event is passed over."""
    archive.add("a.pdf")
    async with Sandbox(faults=fault(kind="garbage_stream", step="stream")) as sandbox:
        assert (await archive.upload(sandbox)).completed == 1


async def test_an_expired_url_takes_a_new_init(archive: Archive) -> None:
    """Expired once: a new init. Expired always: failed as ``url_expired``, after a bounded number of inits."""
    archive.add("a.pdf")
    async with Sandbox(faults=fault(kind="expired_url", times=1)) as sandbox:
        assert (await archive.upload(sandbox)).completed == 1
        assert sandbox.requests["lightreach", "init"] == 2
        sandbox.faults = fault(kind="expired_url")
        archive.add("b.pdf")
        assert (await archive.upload(sandbox)).failed == 1
        assert archive.ended()[2].error_code == "url_expired"
        assert sandbox.requests["lightreach", "init"] == 6


async def test_a_wrong_hash_is_a_failure(archive: Archive) -> None:
    """What the vendor reports is compared with what was sent."""
    archive.add("a.pdf")
    async with Sandbox(faults=fault(kind="wrong_hash")) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        assert archive.ended()[1].error_code == "hash_mismatch"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (step, kind)
        for step in ("init", "put")
        for kind in ("reset_before", "reset_mid", "reset_after", "truncate", "malformed", "close_idle")
    ]
    + [("job", "reset_after"), ("job", "malformed")],
)
async def test_a_connection_that_breaks_once(archive: Archive, kind: str, step: str) -> None:
    """A lost or unreadable answer is asked for again; each document is there once."""
    for number in range(3):
        archive.add(f"{number}.pdf", external_reference=str(number))
    rules = (
        Rule.model_validate({"kind": kind, "step": step, "times": 2}),
        Rule(kind="drop_stream", step="stream", events=0),
    )
    faults = Faults(rules=rules if step == "job" else rules[:1])
    async with Sandbox(faults=faults) as sandbox:
        assert (await archive.upload(sandbox, retry_for=5, job_timeout=20)).completed == 3
        assert len(sandbox.lightreach.documents) == 3


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("step", ["init", "put"])
async def test_a_passing_refusal_is_retried(archive: Archive, status: int, step: str) -> None:
    """Transient statuses are retried, with Retry-After obeyed."""
    archive.add("a.pdf")
    faults = fault(kind="status", step=step, status=status, times=1, retry_after=0)
    async with Sandbox(faults=faults) as sandbox:
        assert (await archive.upload(sandbox)).completed == 1
        assert sandbox.requests["lightreach", step] == 2


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 501])
async def test_a_permanent_refusal_is_not_retried(archive: Archive, status: int) -> None:
    """A permanent refusal of an init is asked for once."""
    archive.add("a.pdf")
    async with Sandbox(faults=fault(kind="status", step="init", status=status, message="no, never")) as sandbox:
        assert (await archive.upload(sandbox)).failed == 1
        assert sandbox.requests["lightreach", "init"] == 1
        assert "no, never" in (archive.ended()[1].error or "")


async def test_retry_after_beyond_the_patience_stops_the_vendor(archive: Archive) -> None:
    """A vendor that asks for more time than --retry-for gives is left alone: one row failed, the rest pending."""
    for number in range(20):
        archive.add(f"{number}.pdf", external_reference=str(number))
    faults = fault(kind="status", step="init", status=429, retry_after=3600)
    async with Sandbox(faults=faults) as sandbox:
        summary = await archive.upload(sandbox, concurrency=1)
        assert (summary.failed, summary.pending) == (1, 19)
        assert [end.error_code for end in archive.ended().values()] == ["rate_limited"]
        assert sandbox.requests["lightreach", "init"] == 1


async def test_retry_after_holds_for_all_workers(archive: Archive) -> None:
    """While one worker was told to wait, no other sends an init."""
    for number in range(12):
        archive.add(f"{number}.pdf", external_reference=str(number))
    faults = fault(kind="status", step="init", status=429, retry_after=1, times=1)
    async with Sandbox(faults=faults) as sandbox:
        summary = await archive.upload(sandbox, concurrency=2, retry_for=5)
        assert (summary.completed, sandbox.requests["lightreach", "init"]) == (12, 13)
        assert summary.seconds >= 1


async def test_v1_with_a_lost_answer_is_unknown_until_the_vendor_lists_it(archive: Archive) -> None:
    """v1 can't be repeated blindly: the row is unknown, and the next run finds the document in the account's list."""
    archive.add("a.pdf")
    faults = fault(kind="reset_after", step="v1", times=1)
    async with Sandbox(options=LightReachOptions(signed_urls=False), faults=faults) as sandbox:
        assert (await archive.upload(sandbox)).exit_code == 3
        summary = await archive.upload(sandbox)
        assert (summary.completed, summary.exit_code) == (1, 0)
        assert len(sandbox.lightreach.documents) == 1
        assert archive.ledger_rows()[0]["document_id"] == sandbox.lightreach.documents[0].id


async def test_v1_that_the_vendor_does_not_list_stays_unknown(archive: Archive) -> None:
    """Asking is safe, sending again is not: without proof it needs --retry-unknown."""
    archive.add("a.pdf")
    faults = fault(kind="reset_mid", step="v1", times=1)
    async with Sandbox(options=LightReachOptions(signed_urls=False), faults=faults) as sandbox:
        assert (await archive.upload(sandbox)).unknown == 1
        assert (await archive.upload(sandbox)).unknown == 1
        assert (await archive.upload(sandbox, retry_unknown=True)).completed == 1


async def test_skip_invalid_records_bad_rows(archive: Archive) -> None:
    """--skip-invalid sends the good rows and keeps the bad ones in the ledger; a mended manifest forgets them."""
    archive.add("a.pdf")
    archive.row("b.pdf", account_id="")
    archive.add("a.pdf")
    async with Sandbox() as sandbox:
        with pytest.raises(bulkup.ManifestError) as error:
            await archive.upload(sandbox)
        assert len(error.value.complaints) == 2
        assert "same document as row 1" in str(error.value.complaints[1])
        assert not sandbox.requests
        summary = await archive.upload(sandbox, skip_invalid=True)
        assert (summary.rows, summary.completed, summary.failed) == (3, 1, 2)
        assert [row["error_code"] for row in archive.ledger_rows()] == [None, "invalid_row", "invalid_row"]
        archive.rows = archive.rows[:1]
        assert (await archive.upload(sandbox)).skipped == 1
        assert len(archive.ledger_rows()) == 1


async def test_a_key_that_comes_again_much_later(archive: Archive) -> None:
    """Rows are staged by the thousand; two with one key are found however far apart they are, and named."""
    for number in range(2500):
        archive.row("1.pdf", key=str(number % 2499))
    async with Sandbox() as sandbox:
        with pytest.raises(bulkup.ManifestError) as error:
            await archive.upload(sandbox)
    (complaint,) = error.value.complaints
    assert str(complaint).endswith("row 2500 (line 2501): column 'key': has the same key as row 1 (value: '0')")


async def test_a_group_of_more_than_25_is_an_error(archive: Archive) -> None:
    """A document of 26 files can't be sent: nothing is."""
    for number in range(26):
        archive.add(f"{number}.png", group="scan")
    async with Sandbox() as sandbox:
        with pytest.raises(bulkup.ManifestError, match=r"row 1: column 'group': its group has 26 files"):
            await archive.upload(sandbox)
        assert not sandbox.requests


async def test_a_ledger_that_cannot_be_written_stops_the_run(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a mark can't be made durable, no init is sent, and the run ends with the ledger's words."""
    for number in range(50):
        archive.add(f"{number}.pdf", external_reference=str(number))

    def full(ledger: Ledger, marks: object) -> None:
        del marks
        raise LedgerWriteError(f"{ledger.name}: can't write the ledger: database or disk is full")

    async with Sandbox() as sandbox:
        monkeypatch.setattr(Ledger, "write", full)
        with pytest.raises(LedgerWriteError, match="disk is full"):
            await archive.upload(sandbox)
        assert not sandbox.requests


async def test_credentials_must_be_there_before_anything_is_sent(archive: Archive, tmp_path: Path) -> None:
    """A missing credential is named; one in a file is read."""
    archive.add("a.pdf")
    async with Sandbox() as sandbox:
        given = sandbox.environment()
        token = given.pop("BULKUP_LIGHTREACH_TOKEN")
        with pytest.raises(bulkup.ConfigError, match="BULKUP_LIGHTREACH_TOKEN"):
            await archive.upload(sandbox, environment=given)
        (tmp_path / "token").write_text(token + "\n")
        given["BULKUP_LIGHTREACH_TOKEN_FILE"] = str(tmp_path / "token")
        assert (await archive.upload(sandbox, environment=given)).completed == 1
