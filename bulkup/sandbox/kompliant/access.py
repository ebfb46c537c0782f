"""Who may call Kompliant, the bodies it takes, and the envelope of its answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NoReturn

import orjson
from aiohttp import web

from bulkup.sandbox.kompliant.options import KompliantOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, json_answer

_INFRASTRUCTURE = frozenset({413, 415, 429, 503, 504})
Body = Mapping[str, object]


class Access:
    """Credentials, the signature check and the envelope.

    Args:
        stage: what all stand-ins share; the credentials are made from its seed.
        options: the form of answers.
    """

    def __init__(self, stage: Stage, options: KompliantOptions) -> None:
        digest = hashlib.sha256(f"kompliant {stage.seed}".encode()).digest()
        self.api_key = f"sb_{digest.hex()[:22]}"
        self.secret_key = base64.b64encode(digest + b"k").decode()
        self.auth_token = f"kat-{digest.hex()[22:52]}"
        self._options = options
        self._codes = {401: options.unauthorized_code, 403: "FORBIDDEN", 429: options.throttled_code}

    async def read(self, request: web.Request, required: Iterable[str], optional: Iterable[str] = ()) -> Body:
        """The body of a call that is signed.

        Args:
            request: the call.
            required: the keys that it must have.
            optional: those that it may have; no others.

        Raises:
            RefusedError: 401 without a good signature, 415 for another content type, 400 for another body.
        """
        self._check(request)
        if request.content_type != "application/json":
            raise RefusedError(415, "Content-Type must be application/json")
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            refuse("the body is not valid JSON")
        if not isinstance(body, dict):
            refuse("the body must be a JSON object")
        fields(body, "", required, optional)
        return body

    def answer(self, data: Mapping[str, object]) -> web.Response:
        """A success: always 200."""
        return json_answer({"meta": _meta("SUCCESS"), "data": data} if self._options.envelope else data)

    def error(self, status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
        """A failure; what comes from the infrastructure need not have the vendor's envelope."""
        words = message or HTTPStatus(status).phrase
        usual = "BAD_REQUEST" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "INTERNAL_ERROR"
        code = {"code": self._codes.get(status, usual), "message": words}
        meta = _meta("ERROR")
        if status in _INFRASTRUCTURE:
            if self._options.infrastructure != "json":
                return web.Response(text=words if self._options.infrastructure == "text" else "", status=status)
            meta.pop("trace_id")
        several = extra.get("errors")
        return json_answer({"meta": meta, "errors": several or [{**code, **extra}]}, status)

    def _check(self, request: web.Request) -> None:
        """Verify the minimal form of the signature, which signs the API key alone."""
        key = base64.b64decode(self.secret_key)
        signature = base64.b64encode(hmac.digest(key, self.api_key.encode(), "sha256")).decode()
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(errors="replace"), f"KSig1-HMAC-SHA256 {signature}".encode()):
            raise RefusedError(401, "the signature is missing or wrong")
        if "X-API-Signed-Elements" in request.headers:
            raise RefusedError(401, "the signature is not one of the elements that X-API-Signed-Elements names")
        keys = (request.headers.get("X-API-Key"), request.headers.get("X-API-Auth-Token"))
        if keys != (self.api_key, self.auth_token):
            raise RefusedError(401, "X-API-Key or X-API-Auth-Token is missing or wrong")


def fields(given: Mapping[str, object], where: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """See that an object has what it must have, and nothing else, and that its ids are text.

    Raises:
        RefusedError: 400.
    """
    for name in required:
        if given.get(name) in (None, ""):
            refuse(f"{where}{name} is required")
    if extra := sorted(given.keys() - {*required, *optional}):
        refuse(f"{where}{extra[0]} is not known")
    for name, value in given.items():
        if name.endswith("_id") and not isinstance(value, str):
            refuse(f"{where}{name} must be text")


def refuse(words: str, code: str = "BAD_REQUEST", sub_code: str | None = None, *, breach: bool = True) -> NoReturn:
    """Refuse with 400, as Kompliant does for what the caller did wrong."""
    extra = {"code": code} | ({"entity_type": "WORKFLOW", "sub_code": sub_code} if sub_code else {})
    raise RefusedError(400, words, extra, breach)


def missing(what: str) -> NoReturn:
    """There is no such thing."""
    refuse(f"there is no {what}", "ENTITY_NOT_FOUND", breach=False)


def _meta(status: str) -> dict[str, object]:
    return {"status": status, "trace_id": secrets.token_hex(8), "version": "1.0.0"}
