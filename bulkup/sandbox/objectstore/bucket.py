"""One vendor's bucket: signed URLs, and the PUT and GET that they allow."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import web
from anyio import to_thread

from bulkup.sandbox.objectstore import answers
from bulkup.sandbox.objectstore.answers import Dialect
from bulkup.sandbox.objectstore.signing import Verdict, until
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step

_CREDENTIALS: Final = frozenset({"authorization", "cookie", "autopal-instance-id", "x-api-key", "x-api-auth-token"})
_AGED: Final = 60.0
PUT: Final = "put"
DOWNLOAD: Final = "download"


@dataclass(frozen=True, slots=True)
class SignedTarget:
    """A signed URL: its ``url`` and when it ``expires``, as a Unix time in seconds."""

    url: str
    expires: float


class Bucket:
    """The part of the object store that one vendor hands out URLs of, under ``/store/{vendor}/``.

    Args:
        stage: what all stand-ins share.
        vendor: the vendor's name; the keys of its objects begin with it.
        dialect: whose errors it answers with.
        landed: is told each key whose bytes have come.
        subject: the text in which a fault rule's ``match`` is looked for, of a key.
        single_use: a URL takes one PUT, whatever comes of it.
    """

    def __init__(
        self,
        stage: Stage,
        vendor: str,
        dialect: Dialect,
        landed: Callable[[str], None],
        subject: Callable[[str], str],
        *,
        single_use: bool = False,
    ) -> None:
        self._stage = stage
        self._vendor = vendor
        self._dialect = dialect
        self._subject = subject
        stage.landings[vendor] = landed
        self._spoilt: set[str] = set()
        self._single_use = single_use
        self._used: set[str] = set()

    def steps(self) -> Iterable[Step]:
        """PUT and GET of an object."""
        path = f"/store/{self._vendor}/{{name:.+}}"
        yield Step(PUT, "PUT", path, self._put, answers.plain_error, self._match)
        yield Step(DOWNLOAD, "GET", path, self._get, answers.plain_error, self._match)

    def sign_put(self, key: str, content_type: str, life: float) -> SignedTarget:
        """A URL to PUT with this Content-Type (empty: any), good for ``life`` seconds.

        Where the fault plan says so, it is taken for expired all the same, and that is no breach of the client.
        """
        if not self._stage.dice.outcome("expired_url", self._vendor, self._subject(key)):
            return self._sign("PUT", key, content_type, life)
        self._spoilt.add(key)
        return self._sign("PUT", key, content_type, life, aged=life + _AGED)

    def sign_get(self, key: str, life: float) -> SignedTarget:
        """A URL to read an object, good for ``life`` seconds."""
        return self._sign("GET", key, "", life)

    def _sign(self, method: str, key: str, content_type: str, life: float, *, aged: float = 0) -> SignedTarget:
        now = self._stage.clock()
        made = now - aged if self._stage.s3 else now  # a real server can't be told whom to take for expired
        url = self._stage.signer.sign(method, f"{self._stage.objects_url}/{quote(key)}", content_type, made, life)
        return SignedTarget(url, now + life)

    async def _match(self, request: web.Request) -> str:
        return f"{request.path}\n{self._subject(self._key(request))}"

    def _key(self, request: web.Request) -> str:
        return f"{self._vendor}/{request.match_info['name']}"

    async def _put(self, request: web.Request) -> web.StreamResponse:
        with self._stage.record.requests.puts.one():
            key = self._key(request)
            content_type = request.headers.get("Content-Type", "")
            if refusal := self._refusal(request, PUT, key, content_type):
                return refusal
            if self._single_use and key in self._used:
                self._stage.record.breach(self._vendor, PUT, f"a second PUT to the single-use URL of {key}")
                return answers.plain_error(HTTPStatus.FORBIDDEN, None, {})
            self._used.add(key)
            if "Transfer-Encoding" in request.headers:
                self._stage.record.breach(self._vendor, PUT, f"chunked body for {key}")
                return answers.chunked()
            size = request.content_length
            if size is None:
                self._stage.record.breach(self._vendor, PUT, f"no Content-Length for {key}")
                return answers.plain_error(HTTPStatus.LENGTH_REQUIRED, None, {})
            await self._stage.store.put(key, request.content, size)
            self._stage.landed(key)
            return web.Response(headers={"ETag": f'"{secrets.token_hex(16)}"'})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        key = self._key(request)
        if refusal := self._refusal(request, DOWNLOAD, key, ""):
            return refusal
        if key not in self._stage.store:
            return answers.plain_error(HTTPStatus.NOT_FOUND, None, {})
        stored = self._stage.store[key]
        body = stored.content if isinstance(stored.content, bytes) else await to_thread.run_sync(stored.read)
        return web.Response(body=body, content_type="application/octet-stream")

    def _refusal(self, request: web.Request, step: str, key: str, content_type: str) -> web.Response | None:
        """What stands against the request by its head; the sources don't say in which order a store looks."""
        headers = request.headers
        if _CREDENTIALS & {name.lower() for name in headers}:
            self._stage.record.leak(self._vendor, step, f"a credential was sent to the signed URL of {key}")
            return answers.plain_error(HTTPStatus.FORBIDDEN, None, {})
        now = self._stage.clock()
        url = f"http://{request.headers.get('Host', '')}{request.raw_path}"
        verdict = self._stage.signer.check(request.method, url, content_type, now)
        if verdict is not Verdict.GOOD:
            what, answer = self._judged(verdict, request, content_type, now)
        elif step == PUT and key in self._spoilt:
            return answers.expired(self._dialect, request.query.get("X-Amz-Expires", ""), now, now)
        elif unsigned := ",".join(name for name in headers if name[:6].lower() == "x-amz-"):
            what, answer = f"unsigned header {unsigned}", answers.unsigned_headers(unsigned)
        else:
            return None
        self._stage.record.breach(self._vendor, step, f"{what} for {key}")
        return answer

    def _judged(
        self, verdict: Verdict, request: web.Request, content_type: str, now: float
    ) -> tuple[str, web.Response]:
        """The breach in words, and the store's answer to it."""
        if verdict is Verdict.EXPIRED:
            return "expired URL", answers.expired(
                self._dialect, request.query.get("X-Amz-Expires", ""), until(request.raw_path), now
            )
        if verdict is Verdict.INCOMPLETE:
            return "incomplete URL", answers.incomplete()
        what = f"the URL or its Content-Type ({content_type or 'none'}) is not as signed"
        return what, answers.mismatch(self._dialect, request.method, request.path)
