"""TLS: whom a run trusts, and what never goes without it."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

import bulkup
from bulkup.sandbox import Sandbox
from bulkup.tls import trusting
from bulkup.transport import Limits, Request
from bulkup.wire import Wire
from tests.conftest import Archive
from tests.process import bulkup as command
from tests.test_conformance import fill, send, started
from tests.tls import behind_tls, served_by, written
from tests.vendors import CASES, Case

BY_ID = {case.id: case for case in CASES}
LIGHTREACH = BY_ID["lightreach"]
SIGNED = [case for case in CASES if {"put", "form"} & set(case.steps) and case.provider != "alloy"]
"""Ways on which the vendor gives a signed URL."""


def at(url: str, sandbox: Sandbox) -> dict[str, str]:
    """The sandbox's environment, with its base URLs at a proxy."""
    return {name: value.replace(sandbox.url, url) for name, value in sandbox.environment().items()}


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case.id)
async def test_a_signed_url_without_tls_is_refused(archive: Archive, tmp_path: Path, case: Case) -> None:
    """A vendor at https that hands out an http URL, loopback or not, gets no byte there; the row says bad_url."""
    fill(archive, case, 1)
    authority = trustme.CA()
    trusted = written(authority, tmp_path / "ca.pem")
    async with started(case) as sandbox, behind_tls(sandbox, served_by(authority)) as url:
        environment = at(url, sandbox) | dict(case.settings)
        summary = await archive.upload(sandbox, environment=environment, ca_file=trusted)
        (end,) = archive.ended().values()
        assert (summary.exit_code, end.state, end.stage, end.error_code) == (1, "failed", "transfer", "bad_url")
        assert end.error is not None
        assert f"without TLS ({sandbox.url})" in end.error
        assert not {"put", "form"} & {step for _, step in sandbox.requests}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_all_of_a_vendor_behind_tls(
    archive: Archive, tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --ca-file a private authority is good for the API, its streams and its store."""
    fill(archive, case)
    authority = trustme.CA()
    trusted = written(authority, tmp_path / "ca.pem")
    async with started(case) as sandbox, behind_tls(sandbox, served_by(authority)) as url:
        monkeypatch.setattr(sandbox._stage, "url", url)  # what its URLs begin with
        summary = await send(archive, sandbox, case, ca_file=trusted)
        assert (summary.completed, summary.exit_code) == (3, 0), archive.ended()
        assert not sandbox.breaches


def _expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1))


@pytest.mark.parametrize(
    ("trusted", "certificate", "reason"),
    [
        (False, None, "(--ca-file names private authorities)"),
        (True, lambda authority: authority.issue_cert("other.example"), "Hostname mismatch"),
        (True, _expired, "certificate has expired"),
    ],
    ids=["unknown-authority", "wrong-host", "expired"],
)
async def test_a_bad_certificate_stops_the_vendor(
    archive: Archive,
    tmp_path: Path,
    trusted: bool,  # noqa: FBT001 - a parameter of the test
    certificate: Callable[[trustme.CA], trustme.LeafCert] | None,
    reason: str,
) -> None:
    """Not one request arrives, all rows stay pending, and one line says what is wrong with the certificate."""
    for case in (LIGHTREACH, BY_ID["auco"]):
        fill(archive, case, 30)
    authority = trustme.CA()
    options = {"ca_file": written(authority, tmp_path / "ca.pem")} if trusted else {}
    tls = served_by(authority, certificate and certificate(authority))
    async with Sandbox() as sandbox, behind_tls(sandbox, tls) as url:
        summary = await archive.upload(sandbox, environment=at(url, sandbox), **options)
        assert (summary.pending, summary.exit_code) == (60, 1), archive.ended()
        assert sandbox.requests == Counter()
    for vendor in ("lightreach", "auco"):
        (notice,) = [notice for notice in archive.notices() if notice.startswith(vendor)]
        assert "stopped, no more rows are taken: TLS with localhost failed" in notice
        assert reason in notice


async def test_a_store_with_a_bad_certificate_stops_the_vendor(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds for the store alone: no byte is sent, and the rows stay pending."""
    fill(archive, LIGHTREACH, 30)
    authority, other = trustme.CA(), trustme.CA()
    trusted = written(authority, tmp_path / "ca.pem")
    async with (
        Sandbox() as sandbox,
        behind_tls(sandbox, served_by(authority)) as url,
        behind_tls(sandbox, served_by(other)) as store,
    ):
        environment = at(url, sandbox)
        monkeypatch.setattr(sandbox._stage, "url", store)
        summary = await archive.upload(sandbox, environment=environment, ca_file=trusted)
        assert (summary.pending, summary.exit_code) == (30, 1), archive.ended()
        assert ("lightreach", "put") not in sandbox.requests


async def test_the_environment_names_authorities_too(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is obeyed, as by other programs; --ca-file adds to it."""
    fill(archive, BY_ID["alloy"], 2)
    authority = trustme.CA()
    monkeypatch.setenv("SSL_CERT_FILE", str(written(authority, tmp_path / "ca.pem")))
    another = written(trustme.CA(), tmp_path / "another.pem")
    async with Sandbox() as sandbox, behind_tls(sandbox, served_by(authority)) as url:
        summary = await archive.upload(sandbox, environment=at(url, sandbox), ca_file=another)
        assert (summary.completed, summary.exit_code) == (2, 0), archive.ended()


async def test_an_authority_file_that_is_none(archive: Archive, tmp_path: Path) -> None:
    """A file that is missing, a folder, empty, garbage or only a private key: one line, exit code 2, nothing sent."""
    fill(archive, LIGHTREACH, 1)
    certificate = trustme.CA().issue_cert("localhost")
    files = {"empty.pem": b"", "garbage.pem": b"\0garbage", "key.pem": certificate.private_key_pem.bytes()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.pem").mkdir()
    async with Sandbox() as sandbox:
        for name in (*files, "folder.pem", "missing.pem"):
            with pytest.raises(bulkup.ConfigError, match=r"^--ca-file: .*" + name) as caught:
                await archive.upload(sandbox, ca_file=tmp_path / name)
            assert len(str(caught.value).splitlines()) == 1
        assert sandbox.requests == Counter()
    done = command("run", archive.manifest(), "--ca-file", "no.pem", environment={}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bulkup: --ca-file: can't read 'no.pem': No such file or directory\n"


@pytest.mark.parametrize("host", ["sandbox:8080", "192.0.2.1", "127.0.0.1.example", "[::2]", "localhost.example"])
async def test_a_base_url_without_tls_is_for_this_machine_only(archive: Archive, host: str) -> None:
    """Credentials would go in clear: a usage error, before anything is sent."""
    fill(archive, LIGHTREACH, 1)
    async with Sandbox() as sandbox:
        with pytest.raises(bulkup.ConfigError, match="--base-url: must begin with https://"):
            await archive.upload(sandbox, base_url=f"http://{host}/lightreach")


@pytest.mark.loops
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_new_connection_resumes_the_last_session(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Connections that are not kept, such as those to a URL for one use, spare the handshake its certificates."""
    authority, resumed = trustme.CA(), list[bool]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resumed.append(writer.get_extra_info("ssl_object").session_reused)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    context = served_by(authority)
    context.minimum_version = context.maximum_version = version
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    async with Wire(trusting(written(authority, tmp_path / "ca.pem"))) as wire:
        for _ in range(3):
            assert (await wire.send(Request("GET", url, fresh=True), Limits())).status == 200
    server.close()
    assert resumed == [False, True, True]
