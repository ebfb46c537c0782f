"""Who may call Alloy, and how it words its errors."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NoReturn

import orjson
from aiohttp import web

from bulkup.sandbox.alloy.options import AlloyOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, json_answer

_MINOR = {400: 4000, 401: 4011, 403: 4013, 404: 4041, 409: 4091, 429: 4033, 503: 5031}
_UNHANDLED = 5000


class Access:
    """Basic and bearer credentials.

    Args:
        stage: what all stand-ins share; token and secret are made from its seed.
        options: how long a bearer token is good.
    """

    def __init__(self, stage: Stage, options: AlloyOptions) -> None:
        digest = hashlib.sha256(f"alloy {stage.seed}".encode()).hexdigest()
        self.token, self.secret = f"at-{digest[:30]}", f"as-{digest[30:]}"
        self._stage = stage
        self._options = options
        self._bearers: dict[str, float] = {}

    def steps(self) -> Iterable[Step]:
        """The OAuth2 login."""
        yield Step("login", "POST", "/alloy/oauth/bearer", self._login, short_error)

    def check(self, request: web.Request) -> None:
        """Let a request pass with good credentials; else 401."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and given == self._basic:
            return
        until = self._bearers.get(given) if scheme == "Bearer" else None
        if until is None:
            refuse(401, 4011, "Unauthorized", "the credentials are missing or wrong")
        if self._stage.clock() >= until:
            refuse(401, 4012, "Unauthorized", "The supplied bearer token has expired", breach=False)

    def expire(self) -> None:
        """End all bearer tokens."""
        self._bearers = dict.fromkeys(self._bearers, 0.0)

    @property
    def _basic(self) -> str:
        return base64.b64encode(f"{self.token}:{self.secret}".encode()).decode()

    async def _login(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            content = orjson.loads(body) if body else {}
        except orjson.JSONDecodeError:
            refuse(400, 4002, "Request Body Validation Failure", "the body is not valid JSON")
        bearer = f"ab-{secrets.token_hex(20)}"
        life = self._options.bearer_life
        given = {name: content.get(name) for name in ("application_token", "application_secret")}
        if request.headers.get("Authorization") == f"Basic {self._basic}":
            answer: Mapping[str, object] = {
                "access_token": bearer,
                "token_type": "bearer",
                "expires_in": int(life) if life >= 1 else life,
            }
        elif given == {"application_token": self.token, "application_secret": self.secret}:
            answer = {"bearer_token": bearer, "expires": round((self._stage.clock() + life) * 1000)}
        else:
            refuse(401, 4011, "Unauthorized", "the credentials are missing or wrong", breach=False)
        self._bearers[bearer] = self._stage.clock() + life
        return json_answer(answer)


def refuse(status: int, minor: int, kind: str, words: str, *, breach: bool = True) -> NoReturn:
    """Refuse with one of Alloy's minor codes."""
    raise RefusedError(status, words, {"minor_code": minor, "type": kind}, breach)


def short_error(status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
    """The form that the login answers."""
    words = message or HTTPStatus(status).phrase
    error = {"minor_code": _MINOR.get(status, _UNHANDLED), "type": HTTPStatus(status).phrase, "message": words}
    return _limited(json_answer({"error": {**error, **extra}}, status))


def long_error(status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
    """The form that everything else answers."""
    words = message or HTTPStatus(status).phrase
    error = {
        "minor_code": _MINOR.get(status, _UNHANDLED),
        "type": HTTPStatus(status).phrase,
        "message": words,
        "details": None,
        "error_token": secrets.token_hex(8),
        **extra,
    }
    envelope = {
        "status_code": status,
        "error": error,
        "timestamp": 1497305164671,
        "evaluation_token": None,
        "entity_token": None,
        "application_token": None,
        "application_version_id": None,
    }
    return _limited(json_answer(envelope, status))


def _limited(answer: web.Response) -> web.Response:
    """A 429 has the headers that Alloy documents."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        headers = {"retry-after": "0", "alloy-ratelimit-limit": "100", "alloy-ratelimit-remaining": "0"}
        answer.headers.update(headers | {"alloy-ratelimit-reset": "1497305166"})
    return answer
