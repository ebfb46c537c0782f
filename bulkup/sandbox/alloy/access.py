"""Who may call Alloy."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping

import orjson
from aiohttp import web

from bulkup.sandbox.alloy.errors import Errors, bad_body, bad_header, refuse
from bulkup.sandbox.alloy.options import AlloyOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step, json_answer


class Access:
    """Basic and bearer credentials.

    Attributes:
        uses: for how many calls a bearer token is good, whatever the login said; None: any number. A test sets it.

    Args:
        stage: what all stand-ins share; token and secret are made from its seed.
        options: how long a bearer token is good, and how a login is answered.
        errors: how a login is refused.
    """

    def __init__(self, stage: Stage, options: AlloyOptions, errors: Errors) -> None:
        digest = hashlib.sha256(f"alloy {stage.seed}".encode()).hexdigest()
        self.token, self.secret = f"at-{digest[:30]}", f"as-{digest[30:]}"
        self._stage = stage
        self._options = options
        self._errors = errors
        self._bearers: dict[str, float] = {}
        self._calls: Counter[str] = Counter()
        self.uses: int | None = None

    def steps(self) -> Iterable[Step]:
        """The OAuth2 login."""
        yield Step("login", "POST", "/alloy/oauth/bearer", self._login, self._errors.short)

    def check(self, request: web.Request) -> None:
        """Let a request pass with good credentials; else 401."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and given == self._basic:
            return
        until = self._bearers.get(given) if scheme == "Bearer" else None
        if until is None:
            refuse(401, 4011, "Unauthorized", "the credentials are missing or wrong")
        self._calls[given] += 1
        worn = self.uses is not None and self._calls[given] > self.uses
        if worn or self._stage.clock() >= until:
            words = "The supplied bearer token has expired. Please obtain a new one."
            refuse(401, 4012, "Unauthorized", words, breach=False)

    def expire(self) -> None:
        """End all bearer tokens."""
        self._bearers = dict.fromkeys(self._bearers, 0.0)

    @property
    def _basic(self) -> str:
        return base64.b64encode(f"{self.token}:{self.secret}".encode()).decode()

    async def _login(self, request: web.Request) -> web.StreamResponse:
        """The credentials stand in the header (OAuth2), or in the body (the form before it)."""
        content = _login_body(await request.read(), request.content_type)
        given = content.keys() & {"application_token", "application_secret"}
        header = request.headers.get("Authorization")
        if header is not None and given:
            bad_body("the credentials are in the header and in the body", "application_token")
        if header is None and not given:
            bad_header("application token and secret must be given, in the Authorization header or in the body")
        if header is None and content.get("grant_type") != "client_credentials":
            bad_body("grant_type is required", "grant_type")
        stated = (content.get("application_token"), content.get("application_secret"))
        if header != f"Basic {self._basic}" and stated != (self.token, self.secret):
            refuse(401, 4011, "Unauthorized", "Unable to obtain a bearer token using specified credentials.")
        return json_answer(self._answer(former=header is None))

    def _answer(self, *, former: bool) -> Mapping[str, object]:
        life = self._options.bearer_life
        bearer = ".".join(secrets.token_hex(12) for _ in range(3))
        self._bearers[bearer] = self._stage.clock() + life
        form = self._options.login_answer
        if form == "former" or (form == "asked" and former):
            return {"bearer_token": bearer, "expires": round((self._stage.clock() + life) * 1000)}
        return {"access_token": bearer, "token_type": "bearer", "expires_in": int(life) if life >= 1 else life}


def _login_body(body: bytes, content_type: str) -> Mapping[str, object]:
    if not body:
        return {}
    if content_type != "application/json":
        bad_header("content-type must be application/json")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        bad_body("the body is not valid JSON")
    if not isinstance(content, dict):
        bad_body("the body must be a JSON object")
    if extra := sorted(content.keys() - {"application_token", "application_secret", "grant_type"}):
        bad_body(f"unknown: {', '.join(extra)}", extra[0])
    if content.get("grant_type", "client_credentials") != "client_credentials":
        bad_body("grant_type must be client_credentials", "grant_type")
    return content
