"""Who may call Kompliant, and the envelope of its answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import NoReturn

import orjson
from aiohttp import web

from bulkup.sandbox.kompliant.options import KompliantOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, json_answer

_CODES = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 500: "INTERNAL_ERROR"}


class Access:
    """Credentials, the signature check and the envelope.

    Args:
        stage: what all stand-ins share; the credentials are made from its seed.
        options: whether there is an envelope.
    """

    def __init__(self, stage: Stage, options: KompliantOptions) -> None:
        digest = hashlib.sha256(f"kompliant {stage.seed}".encode()).digest()
        self.api_key = f"sb_{digest.hex()[:22]}"
        self.secret_key = base64.b64encode(digest + b"k").decode()
        self.auth_token = f"kat-{digest.hex()[22:52]}"
        self._options = options

    async def read(self, request: web.Request) -> Mapping[str, object]:
        """The body of a call that is signed.

        Raises:
            RefusedError: 401 without a good signature, 400 without a JSON object.
        """
        key = base64.b64decode(self.secret_key)
        signature = base64.b64encode(hmac.digest(key, self.api_key.encode(), "sha256")).decode()
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"KSig1-HMAC-SHA256 {signature}".encode()):
            raise RefusedError(401, "the signature is missing or wrong")
        keys = (request.headers.get("X-API-Key"), request.headers.get("X-API-Auth-Token"))
        if keys != (self.api_key, self.auth_token):
            raise RefusedError(401, "X-API-Key or X-API-Auth-Token is missing or wrong")
        if request.content_type != "application/json":
            raise RefusedError(415, "Content-Type must be application/json")
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            refuse("the body is not valid JSON")
        if not isinstance(body, dict):
            refuse("the body must be a JSON object")
        return body

    def answer(self, data: Mapping[str, object]) -> web.Response:
        """A success: always 200."""
        return json_answer({"meta": _meta("SUCCESS"), "data": data} if self._options.envelope else data)


def error(status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
    """A failure; what comes from the infrastructure has no envelope."""
    if status in {413, 429, 503, 504}:
        return web.Response(text=message or HTTPStatus(status).phrase, status=status)
    code = {"code": _CODES.get(status, "BAD_REQUEST"), "message": message or HTTPStatus(status).phrase}
    return json_answer({"meta": _meta("ERROR"), "errors": [{**code, **extra}]}, status)


def refuse(words: str, code: str = "BAD_REQUEST", sub_code: str | None = None, *, breach: bool = True) -> NoReturn:
    """Refuse with 400, as Kompliant does for what the caller did wrong."""
    extra = {"code": code} | ({"entity_type": "WORKFLOW", "sub_code": sub_code} if sub_code else {})
    raise RefusedError(400, words, extra, breach)


def missing(what: str) -> NoReturn:
    """There is no such thing."""
    refuse(f"there is no {what}", "ENTITY_NOT_FOUND", breach=False)


def _meta(status: str) -> Mapping[str, object]:
    return {"status": status, "trace_id": secrets.token_hex(8), "version": "1.0.0"}
