"""Calls to one vendor's API: authorised, paced, retried where that is harmless. Implements `providers.base.Caller`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urlencode, urlsplit

import anyio
import orjson

from bulkup.answers import judge_api, judge_store
from bulkup.clock import Clock
from bulkup.decide import unsent, wants_fallback
from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.private import shown
from bulkup.providers.base import Adapter, Answer, Caller, Explainer, Job, Json, Renewable, able
from bulkup.retry import retrying
from bulkup.schedule import Backoff
from bulkup.secret import SignedUrl
from bulkup.track import Probe, Tracker
from bulkup.traffic import Traffic
from bulkup.transport import Limits, Request, Response, Stream, Transport, body_of

log = logging.getLogger("bulkup.api")

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_RENEW_BEFORE = 60.0
"""Seconds before its end at which a token is renewed; half its life, if that is shorter."""
_MOST_OF_A_DOCUMENT = 5 * 1024**3
"""Bytes: as much as one PUT to S3 takes."""


class Api:
    """One vendor's API. Its `adapter` is replaced when a token is renewed.

    Args:
        adapter: the vendor.
        transport: carries the requests.
        limits: deadlines of one exchange.
        backoff: retries of calls that may be repeated (RFC 9110, 9.2.2); a POST is sent once.
        clock: time and chance.
        tracker: follows jobs.
        traffic: shared by everything that talks to this vendor.
        asking: bounds the calls at a time that only ask; inits have their workers as bound.
    """

    def __init__(
        self,
        adapter: Adapter,
        transport: Transport,
        *,
        limits: Limits,
        backoff: Backoff,
        clock: Clock,
        tracker: Tracker,
        traffic: Traffic,
        asking: anyio.Semaphore,
    ) -> None:
        self.adapter = adapter
        self._transport = transport
        self._limits = limits
        self._backoff = backoff
        self._clock = clock
        self._tracker = tracker
        self.traffic = traffic
        self._asking = asking
        self._renewing = anyio.Lock()
        self._lifetime = 0.0
        self._logins = 0
        self._refused: Failure | None = None

    def with_adapter(self, adapter: Adapter) -> Api:
        """The same API through another adapter, with a token of its own."""
        return Api(
            adapter,
            self._transport,
            limits=self._limits,
            backoff=self._backoff,
            clock=self._clock,
            tracker=self._tracker,
            traffic=self.traffic,
            asking=self._asking,
        )

    def probing(self, seconds: float) -> Caller:
        """The same API, whose `follow` polls for so many seconds, and then says whether the job is still open."""
        return _Probing(self, self._tracker.probe(seconds, self._backoff.patience))

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = False,
        leaves: Callable[[], None] | None = None,
    ) -> Answer:
        """See `Caller.call`; ``leaves`` is called when an init is about to be sent."""
        body = b"" if json is None else orjson.dumps(json)
        if method not in _IDEMPOTENT and not repeatable:
            fresh = not self.adapter.traits.repeatable_init
            return await self._once(method, path, body, params, leaves=leaves or _nobody, fresh=fresh)

        async def ask() -> Answer:
            async with self._asking:
                answer = await self._once(method, path, body, params)
            if method == "GET" or repeatable:
                answer.json()  # a question whose answer can't be read is asked again
            return answer

        return await retrying(ask, self._backoff, self._clock)

    async def glance(self, job: Job) -> Answer:
        """The latest of a job, not repeated, since it is asked for again and again anyway; raises as `call`."""
        async with self._asking:
            if job.json is None:
                return await self._once("GET", job.poll, b"", None)
            return await self._once("POST", job.poll, orjson.dumps(job.json), None)

    async def _once(
        self,
        method: str,
        path: str,
        body: bytes,
        params: Mapping[str, str] | None,
        *,
        leaves: Callable[[], None] | None = None,
        fresh: bool = False,
    ) -> Answer:
        """One call, once more with a new token if the old one ran out.

        Args:
            leaves: see `call`; given for an init only.
            fresh: over a connection of its own: on a kept one the server may be hanging up just now, and then nobody
                knows whether the call arrived.
        """
        await self._ready()
        used = self.adapter
        try:
            return await self._send(method, path, body, params, leaves=leaves, fresh=fresh)
        except StepError as error:
            if not await self.renewed(used, error.failure):
                raise
        return await self._send(method, path, body, params, leaves=leaves, fresh=fresh)

    async def follow(self, job: Job) -> Json:
        """See `Caller.follow`."""
        return await self._tracker.follow(self, job)

    @asynccontextmanager
    async def listen(self, path: str, limits: Limits) -> AsyncIterator[Stream]:
        """An answer without end, such as Server-Sent Events; raises `StepError` if the vendor refuses it."""
        await self._ready()
        async with AsyncExitStack() as stack:

            async def opened() -> Stream:
                request = self._request("GET", path, b"", None, (("Accept", "text/event-stream"),))
                stream = await stack.enter_async_context(self._transport.stream(request, limits))
                log.debug("%s: GET %s -> %d", self.adapter.name, shown(path), stream.response.status)
                _pass(self.judge(stream.response))
                return stream

            yield await self.traffic.carry(self._host, opened)

    async def fetch(self, url: SignedUrl, *, auth: bool) -> bytes:
        """See `Caller.fetch`."""
        self.admit(url, auth=auth)

        async def once(headers: tuple[tuple[str, str], ...]) -> bytes:
            response = await self._transport.send(
                Request("GET", url.value, headers, most=_MOST_OF_A_DOCUMENT), self._limits
            )
            said = response.status, response.headers, response.body
            _pass(self.judge(response) if auth else judge_store(*said, url.secrets))
            return response.body

        async def credentials() -> tuple[tuple[str, str], ...]:
            return await self.headers("GET", urlsplit(url.value).path) if auth else ()

        async def attempt() -> bytes:
            headers, used = await credentials(), self.adapter
            try:
                return await self.traffic.carry(url, partial(once, headers))
            except StepError as error:
                if not auth or not await self.renewed(used, error.failure):
                    raise
            return await self.traffic.carry(url, partial(once, await credentials()))

        return await retrying(attempt, self._backoff, self._clock)

    async def measure(self, url: SignedUrl) -> int | None:
        """See `Caller.measure`."""
        self.admit(url, auth=False)

        async def once() -> int | None:
            async with self._transport.stream(Request("GET", url.value), self._limits) as stream:
                response = stream.response
            _pass(judge_store(response.status, response.headers, response.body, url.secrets))
            length = response.headers.get("content-length", "")
            return int(length) if length.isdecimal() else None

        return await retrying(partial(self.traffic.carry, url, once), self._backoff, self._clock)

    def admit(self, url: SignedUrl, *, auth: bool) -> None:
        """See that a request may go to a URL that the vendor gave, with its credentials (``auth``) or without.

        Raises:
            StepError: ``bad_url``: all could be read on the way, or the credentials would go to another host.
        """
        text = f"the vendor gave a URL without TLS ({url.origin or 'unreadable'}), so nothing was sent to it"
        if auth and url.origin != self._host.origin:
            text = "a URL that wants credentials is not on the vendor's host"
        elif url.safe_beside(self.adapter.base_url):
            return
        raise StepError(Failure("bad_url", text, sent=False))

    async def headers(self, method: str, path: str) -> tuple[tuple[str, str], ...]:
        """The credentials for a transfer that goes to the API itself."""
        await self._ready()
        return tuple(self.adapter.authorize(method, path, b"").items())

    async def renewed(self, used: Adapter, failure: Failure) -> bool:
        """After a refusal of the API itself: whether there is a new token to try it with.

        Args:
            used: the adapter whose token was refused.
        """
        return able(used, Renewable) and failure.code == used.stale and await self._renew(used)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        params: Mapping[str, str] | None,
        *,
        leaves: Callable[[], None] | None = None,
        fresh: bool = False,
    ) -> Answer:
        async def once() -> Answer:
            if leaves is not None:
                leaves()
            request = self._request(method, path, body, params, (("Accept", "application/json"),), fresh=fresh)
            response = await self._transport.send(request, self._limits)
            log.debug("%s: %s %s -> %d", self.adapter.name, method, shown(path), response.status)
            _pass(self.judge(response))
            return Answer(response.status, response.headers, response.body)

        meant = partial(wants_fallback, traits=self.adapter.traits)
        return await self.traffic.carry(self._host, once, init=leaves is not None, meant=meant)

    @property
    def _host(self) -> SignedUrl:
        return SignedUrl(self.adapter.base_url)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes,
        params: Mapping[str, str] | None,
        headers: tuple[tuple[str, str], ...],
        *,
        fresh: bool = False,
    ) -> Request:
        url = self.adapter.base_url + path + (f"?{urlencode(params)}" if params else "")
        headers += tuple(self.adapter.authorize(method, path, body).items())
        if body:
            headers += (("Content-Type", "application/json"),)
        return Request(method, url, headers, body_of(body) if body else None, fresh)

    def judge(self, response: Response) -> Failure | None:
        """What the vendor's API said, as it words its refusals."""
        explain = self.adapter.explain if able(self.adapter, Explainer) else None
        return judge_api(response.status, response.headers, response.body, self.adapter.secrets, explain)

    async def _ready(self) -> None:
        """Have a token that lasts for the next call."""
        adapter = self.adapter
        if (
            able(adapter, Renewable)
            and adapter.renewable
            and adapter.expires_at - min(_RENEW_BEFORE, self._lifetime / 2) <= self._clock.wall()
        ):
            await self._renew(adapter)

    async def _renew(self, used: Adapter) -> bool:
        """Replace the adapter by one with a new token, once, however many calls found the old one stale.

        A login that fails has failed for all that waited for it, too; one that was refused, for good.
        """
        logins = self._logins
        async with self._renewing:
            adapter = self.adapter
            if adapter is not used:
                return True
            if not able(adapter, Renewable) or not adapter.renewable:
                return False
            if self._refused is not None and (self._logins != logins or self._refused.code == "unauthorized"):
                raise StepError(self._refused)
            self._logins += 1
            try:
                self._refused = None
                self.adapter = await self._login(adapter)
            except StepError as error:
                self._refused = error.failure
                raise
            return True

    async def _login(self, adapter: Renewable) -> Adapter:
        log.info("%s: logging in", self.adapter.name)
        method, path, json = adapter.login()
        body = orjson.dumps(json)

        async def once() -> tuple[Adapter, float]:
            answer = await self._send(method, path, body, None)
            now = self._clock.wall()
            return adapter.logged_in(answer.object(), now), now

        try:
            renewed, now = await retrying(once, self._backoff, self._clock)
        except StepError as error:
            raise StepError(unsent(error.failure)) from None
        self._lifetime = max(0.0, renewed.expires_at - now) if able(renewed, Renewable) else 0.0
        return renewed


def _pass(failure: Failure | None) -> None:
    """Go on, unless something failed."""
    if failure is not None:
        raise StepError(failure)


def _nobody() -> None:
    """Nobody wants to know."""


class _Through:
    """Calls that go through to an `Api`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        return await self._api.call(method, path, json=json, params=params, repeatable=repeatable, leaves=self._leaves)

    async def follow(self, job: Job) -> Json:
        return await self._api.follow(job)

    async def fetch(self, url: SignedUrl, *, auth: bool) -> bytes:
        return await self._api.fetch(url, auth=auth)

    async def measure(self, url: SignedUrl) -> int | None:
        return await self._api.measure(url)

    def _leaves(self) -> None:
        """An init is about to be sent."""


class Dated(_Through):
    """An `Api` for one init, that notes when it was sent.

    Attributes:
        sent: by the monotonic clock; before any wait for a turn it is too early to count a URL's life from.
        left: it was sent at all.
    """

    def __init__(self, api: Api, clock: Clock) -> None:
        super().__init__(api)
        self.sent = clock.monotonic()
        self.left = False
        self._clock = clock

    def _leaves(self) -> None:
        self.sent, self.left = self._clock.monotonic(), True


class _Probing(_Through):
    """An `Api` that follows jobs by a `Probe`."""

    def __init__(self, api: Api, probe: Probe) -> None:
        super().__init__(api)
        self._probe = probe

    async def follow(self, job: Job) -> Json:
        return await self._probe.follow(self._api, job)
