"""How Alloy words its errors."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final, NoReturn

from aiohttp import web

from bulkup.sandbox.alloy.options import AlloyOptions
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, json_answer

_MINOR: Final = {400: 4000, 401: 4011, 403: 4013, 404: 4041, 409: 4091, 429: 4033, 503: 5031}
_UNHANDLED: Final = 5000


def refuse(status: int, minor: int, kind: str, words: str, *, breach: bool = True) -> NoReturn:
    """Refuse with one of Alloy's minor codes."""
    raise RefusedError(status, words, {"minor_code": minor, "type": kind}, breach)


def bad_header(words: str, status: int = HTTPStatus.BAD_REQUEST) -> NoReturn:
    """Refuse a request for one of its headers."""
    refuse(status, 4001, "Header Validation Failure", words)


def bad_body(words: str, field: str = "", *, breach: bool = True) -> NoReturn:
    """Refuse a request for its body, or one field of it."""
    details = {"message": words, "path": field, "type": "any.invalid", "context": {"key": field}}
    extra = {"minor_code": 4002, "type": "Request Body Validation Failure", "details": details}
    raise RefusedError(HTTPStatus.BAD_REQUEST, words, extra, breach)


class Errors:
    """The bodies of error answers.

    Args:
        stage: has the time.
        options: what is left open of them.
    """

    def __init__(self, stage: Stage, options: AlloyOptions) -> None:
        self._stage = stage
        self._options = options

    def short(self, status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
        """The form that the login answers."""
        return self._limited(json_answer({"error": self._error(status, message, extra)}, status))

    def long(self, status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
        """The form that everything else answers."""
        envelope = {
            "status_code": status,
            "error": {"details": None, **self._error(status, message, extra), "error_token": secrets.token_hex(8)},
            "timestamp": round(self._stage.clock() * 1000),
            "evaluation_token": None,
            "entity_token": None,
            "application_token": None,
            "application_version_id": None,
        }
        return self._limited(json_answer(envelope, status))

    def _error(self, status: int, message: str | None, extra: Mapping[str, object]) -> dict[str, object]:
        phrase = HTTPStatus(status).phrase
        error = {"minor_code": _MINOR.get(status, _UNHANDLED), "type": phrase, "message": message or phrase, **extra}
        details = error.pop("details", None)
        if details is not None and self._options.details != "none":
            error["details"] = [details] if self._options.details == "list" else details
        return error

    def _limited(self, answer: web.Response) -> web.Response:
        """A 429 has the headers that Alloy documents."""
        if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
            return answer
        now = self._stage.clock()
        answer.headers["Date"] = format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)
        answer.headers["alloy-ratelimit-limit"] = "100"
        answer.headers["alloy-ratelimit-remaining"] = "0"
        answer.headers["alloy-ratelimit-reset"] = str(math.floor(now) + self._options.rate_reset)
        if self._options.rate_headers == "all":
            answer.headers["retry-after"] = str(self._options.rate_reset)
        return answer
