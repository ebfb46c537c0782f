"""Who may call: login, tokens, and the accounts that a token can access."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Final

import orjson
from aiohttp import web

from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, json_answer

_SCHEME: Final = "Bearer "


class Access:
    """Login and the bearer check.

    Args:
        stage: what all stand-ins share; the fixed token is made from its seed.
        options: user, password, token life and accounts.
    """

    def __init__(self, stage: Stage, options: LightReachOptions) -> None:
        self._clock = stage.clock
        self._options = options
        self.token = f"lr-{hashlib.sha256(f'lightreach {stage.seed}'.encode()).hexdigest()[:40]}"
        self._expiries: dict[str, float] = {}

    def steps(self) -> Iterable[Step]:
        """The login."""
        yield Step("login", "POST", "/lightreach/api/auth/login", self._login)

    def check(self, request: web.Request) -> str:
        """Let a request pass if its bearer is good for the account in its path.

        Returns:
            The account.

        Raises:
            RefusedError: 401 without a good token, 403 where it can't access the account.
        """
        given = request.headers.get("Authorization", "")
        token = given.removeprefix(_SCHEME)
        if not given.startswith(_SCHEME) or (token != self.token and token not in self._expiries):
            raise RefusedError(401, "a bearer token is required" if not given else "the bearer token is not known")
        if token != self.token and self._clock() >= self._expiries[token]:
            raise RefusedError(401, "the bearer token has expired", breach=False)
        account = request.match_info["account"]
        allowed = self._options.allowed_accounts
        if account in self._options.forbidden_accounts or (allowed is not None and account not in allowed):
            raise RefusedError(403, f"the token cannot access the account {account}", breach=False)
        return account

    async def _login(self, request: web.Request) -> web.StreamResponse:
        try:
            content = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise RefusedError(400, "the body is not valid JSON") from None
        field = self._options.login_field
        if not isinstance(content, dict) or not {field, "password"} <= content.keys():
            raise RefusedError(400, f"{field} and password are required")
        if (content[field], content["password"]) != (self._options.username, self._options.password):
            raise RefusedError(401, "wrong user or password", breach=False)
        token = f"lr-{secrets.token_hex(20)}"
        self._expiries[token] = self._clock() + self._options.token_life
        life = self._options.token_life
        answer = {"access_token": token, "expires_in": int(life) if life >= 1 else life}
        return json_answer({**answer, "refresh_token": secrets.token_hex(20), "token_type": "Bearer"})
