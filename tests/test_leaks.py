"""Everything that bulkup writes is searched for every secret, after runs against vendors that quote what they got."""

from __future__ import annotations

import base64
import json
import logging
import random
import re
import subprocess
import sys
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from aiohttp import web

from bulkup.sandbox import Faults, Rule, Sandbox
from tests.conftest import Archive, login
from tests.process import bulkup as command
from tests.process import clean_environment
from tests.test_mixed import MIXED, fill
from tests.vendors import CASES, Case

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SIGNED = re.compile(r"(?i)signature|credential|token|policy|awsaccesskeyid|googleaccessid")
_SHORTEST = 8


def _xml(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f"<Error><Code>AccessDenied</Code><Message>{escaped}</Message><Auth>{escaped}</Auth></Error>"


FORMS: Mapping[str, Callable[[str], str]] = {
    "message": lambda text: json.dumps({"message": text}),
    "nested": lambda text: json.dumps({"meta": {"status": "ERROR"}, "errors": [{"code": text, "message": text}]}),
    "other": lambda text: json.dumps({"error": {"message": {"lang": "en", "value": text}}, "detail": [text]}),
    "plain": lambda text: text,
    "html": lambda text: f"<html><body><p>{text}</p></body></html>",
    "xml": _xml,
    "percent": lambda text: quote(text, safe=""),
    "twice": lambda text: quote(quote(text, safe=""), safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 in JSON": lambda text: json.dumps({"message": base64.urlsafe_b64encode(b"x" + text.encode()).decode()}),
    "hexadecimal": lambda text: text.encode().hex(),
}
"""How a vendor may quote a request in its error."""


class Hostile(Sandbox):
    """Answers a share of the requests with errors that quote all of them back, and notes the secrets that it sees.

    Attributes:
        secrets: what a client sent to prove who it is, and what was signed.
        quoted: how many requests were quoted.
    """

    def __init__(self, share: float, **options: object) -> None:
        self.secrets: set[str] = set()
        self.quoted = 0
        self._seen = 0
        self._share = share
        self._chance = random.Random(5)
        super().__init__(**options)  # type: ignore[arg-type]  # the sandbox's own

    def _application(self) -> web.Application:
        application = super()._application()

        @web.middleware
        async def quoting(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._quote(request, handler)

        application.middlewares.append(quoting)
        return application

    async def _quote(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._note(request)
        self._seen += 1
        if int(self._seen * self._share) == int((self._seen - 1) * self._share):
            return await handler(request)
        body = await request.read()
        self._note_form(body)
        self.quoted += 1
        form = list(FORMS.values())[self.quoted % len(FORMS)]
        headers = [f"{name}: {value}" for name, value in request.headers.items()]
        fields = body[:2000].decode("utf-8", "replace") if b"form-data" in body[:200] else ""
        line = f"{request.method} {request.scheme}://{request.host}{request.raw_path}"
        told = "\n".join([*headers[::-1], line, fields])
        status = self._chance.choice([400, 403, 404, 409, 500, 503])
        return web.Response(status=status, text=form(told[:6000]))

    def _note(self, request: web.Request) -> None:
        for name in ("Authorization", "X-API-Key", "X-API-Auth-Token"):
            self._add(request.headers.get(name, "").rpartition(" ")[2])
        for pair in request.raw_path.partition("?")[2].split("&"):
            name, _, value = pair.partition("=")
            if _SIGNED.search(name):
                self._add(unquote(value))

    def _note_form(self, body: bytes) -> None:
        for field, value in re.findall(rb'form-data; name="([^"]+)"\r\n\r\n([^\r]*)\r\n', body):
            if _SIGNED.search(field.decode()):
                self._add(value.decode())

    def _add(self, value: str) -> None:
        if len(value) >= _SHORTEST:
            self.secrets.add(value)

    def all_secrets(self, environment: Mapping[str, str]) -> set[str]:
        """What must be nowhere: what was seen, and the credentials."""
        given = {value for name, value in environment.items() if re.search("TOKEN|SECRET|KEY|PASSWORD", name)}
        return self.secrets | {value for value in given if len(value) >= _SHORTEST}


_WORD = re.compile(rb"[A-Za-z0-9+/_-]{12,}")


def decoded(data: bytes) -> Iterable[bytes]:
    """What may stand in base64 in it, from whatever place it is read."""
    for word in _WORD.findall(data):
        standard = word.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            part = standard[start:]
            yield base64.b64decode(part[: len(part) // 4 * 4])


def search(secrets: Iterable[str], written: Mapping[str, bytes]) -> None:
    """No secret is in what was written, neither as it is nor disguised."""
    for name, data in written.items():
        plain = unquote(unquote(data.decode("utf-8", "replace")))
        folded = plain.encode() + b"\n" + b"\n".join(decoded(data))
        lower = data.lower()
        for secret in secrets:
            assert secret.encode() not in folded, f"{name}: {secret}"
            assert secret.encode().hex().encode() not in lower, f"{name}: {secret} in hexadecimal"


def beside(ledger: Path) -> dict[str, bytes]:
    """The ledger and what lies beside it."""
    return {path.name: path.read_bytes() for path in ledger.parent.glob(f"{ledger.name}*")}


def test_the_search_finds_what_is_there() -> None:
    """Each form of a secret is found in the middle of something else."""
    secret = "pa/ss+word=7!"  # noqa: S105 - a test's
    for form in FORMS.values():
        with pytest.raises(AssertionError):
            search([secret], {"all": b"before " + form(f"Authorization: Basic {secret}, and more").encode()})
    search([secret], {"all": b"nothing of it"})


async def test_no_secret_is_written_by_the_command(archive: Archive) -> None:
    """Five vendors, a third of all answers quoting their requests: output at -vv, ledger and exports hold no secret."""
    fill(archive, MIXED, 10)
    async with Hostile(0.34) as sandbox:
        environment = sandbox.environment() | {"BULKUP_SETTLE": "0.1", "BULKUP_ALLOY_AUTH": "bearer"}
        token = environment["BULKUP_LIGHTREACH_TOKEN"]
        told = f"Bearer {token} or {token.encode().hex()}"
        sandbox.faults = Faults(rules=(Rule(kind="job_failed", times=2, message=told),))
        written: dict[str, bytes] = {}
        for number in range(3):
            arguments = ["run", str(archive.manifest()), "-vv", "--retry-for", "0.3", "--job-timeout", "3"]
            arguments += ["--json"] if number else []
            done = await to_thread(command, *arguments, environment=environment, cwd=archive.folder)
            written |= {f"stdout {number}": done.stdout.encode(), f"stderr {number}": done.stderr.encode()}
            written |= {f"{name} {number}": data for name, data in beside(archive.file).items()}
        for arguments in (["export"], ["export", "--format", "csv"], ["status"], ["status", "--json"], ["orphans"]):
            done = await to_thread(command, *arguments, environment=environment, cwd=archive.folder)
            written[" ".join(arguments)] = done.stdout.encode() + done.stderr.encode()
        secrets = sandbox.all_secrets(environment)
        assert sandbox.quoted > 20
        assert len(secrets) > 20
        search(secrets, written)
        assert b"***" in b"".join(written.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_no_secret_is_told_by_the_library(archive: Archive, case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """Half of all answers quoting their requests: no event, log or ledger holds a secret, on any way of a vendor."""
    fill(archive, [case], 6)
    caplog.set_level(logging.DEBUG)
    async with Hostile(0.5, options=case.options or ()) as sandbox:
        environment = sandbox.environment() | dict(case.settings)
        for _ in range(2):
            await archive.upload(sandbox, environment=environment, retry_for=0.2, job_timeout=2, settle=0.1)
            told = {"events": repr(archive.events).encode(), "log": caplog.text.encode()}
            search(sandbox.all_secrets(environment), told | beside(archive.file))
        assert sandbox.quoted


async def test_no_secret_of_a_login_is_told(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    """The password, and the tokens that it gave."""
    fill(archive, MIXED[:1], 6)
    caplog.set_level(logging.DEBUG)
    async with Hostile(0.5) as sandbox:
        environment = login(sandbox, sandbox.lightreach.options)
        for _ in range(2):
            await archive.upload(sandbox, environment=environment, retry_for=0.2, job_timeout=2, settle=0.1)
            told = {"events": repr(archive.events).encode(), "log": caplog.text.encode()}
            search(sandbox.all_secrets(environment), told | beside(archive.file))
        assert len(sandbox.all_secrets(environment) - {environment["BULKUP_LIGHTREACH_PASSWORD"]}) > 3


BROKEN = """
import bulkup.cli
from bulkup.deliver import Courier
from bulkup.ledger import Ledger
async def deliver(self, api, ticket, *arguments):
    raise ValueError(f"{ticket} {ticket.uploads} {api.adapter!r} {arguments}")
Courier.deliver = deliver
Ledger.states = lambda *_: {}
bulkup.cli.main()
"""


async def test_no_traceback_shows_a_secret(archive: Archive) -> None:
    """A defect that prints all objects at hand, and a count that does not add up: what is secret prints redacted."""
    for case in MIXED:
        fill(archive, [case], 1)
    async with Hostile(0) as sandbox:
        environment = sandbox.environment() | {"BULKUP_SETTLE": "0.1"}

        def broken(code: str) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [sys.executable, "-c", code, "run", archive.manifest(), "-vv"],
                env=clean_environment(environment | {"PYTHONASYNCIODEBUG": "1"}),
                cwd=archive.folder,
                capture_output=True,
                timeout=50,
                check=False,
            )

        done = await to_thread(broken, BROKEN)
        assert b"SignedUrl(" in done.stderr
        assert b"ValueError" in done.stderr
        search(sandbox.all_secrets(environment), {"stderr": done.stderr, "stdout": done.stdout})
        done = await to_thread(broken, BROKEN.replace("Courier.deliver = deliver", ""))
        assert b"the count does not add up" in done.stderr
        search(sandbox.all_secrets(environment), {"stderr": done.stderr, "stdout": done.stdout})
