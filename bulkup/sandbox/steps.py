"""One kind of request that a stand-in serves: counted, spoilt if the fault plan says so, handled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

from bulkup.sandbox.chaos import ErrorBody, Handler, spoil
from bulkup.sandbox.faults import STREAM, Rule
from bulkup.sandbox.stage import Stage

Subject = Callable[[web.Request], Awaitable[str]]

RULE: Final = web.RequestKey("bulkup_sandbox_rule", Rule)


@dataclass(slots=True, eq=False)
class RefusedError(Exception):
    """The stand-in refuses a request.

    Args:
        status: the HTTP status.
        message: the vendor's words.
        extra: more fields of the error's body.
        breach: whether the client broke a rule that the guide states, as opposed to asking for what isn't there.
    """

    status: int
    message: str
    extra: Mapping[str, object] | None = None
    breach: bool = True


def json_answer(content: object, status: int = HTTPStatus.OK) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def json_error(status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
    """The usual error body: ``{"message": ...}``."""
    return json_answer({"message": message or HTTPStatus(status).phrase, **extra}, status)


async def body_subject(request: web.Request) -> str:
    """Path and body, for rules that look for a name in it."""
    return f"{request.path}\n{(await request.read()).decode(errors='replace')}"


async def _path_only(request: web.Request) -> str:
    return request.path


@dataclass(frozen=True, slots=True)
class Step:
    """A request that a stand-in serves.

    Args:
        name: its name in counters and fault plans.
        method: the HTTP method, ``*`` for any.
        path: the aiohttp route's path, from the server's root.
        handle: answers it; a stream finds the rule that spoils it in ``request[RULE]``.
        error: makes the body of an error answer: of a status, a message (None: any will do) and more fields.
        subject: the text in which a fault rule's ``match`` is looked for.
    """

    name: str
    method: str
    path: str
    handle: Handler
    error: ErrorBody = json_error
    subject: Subject = _path_only


def unknown(vendor: str, status: int = HTTPStatus.NOT_FOUND, error: ErrorBody = json_error) -> Step:
    """The step of all requests below ``/{vendor}/`` that there is nothing for."""

    async def handle(request: web.Request) -> web.StreamResponse:
        raise RefusedError(status, f"there is no {request.method} {request.path}")

    return Step("unknown", "*", f"/{vendor}/{{tail:.*}}", handle, error)


def served(step: Step, vendor: str, stage: Stage) -> Handler:
    """The aiohttp handler of a step.

    Args:
        step: what to serve.
        vendor: whose request it is.
        stage: counts it, and has the fault plan in use.
    """
    counted = (vendor, step.name)

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await step.handle(request)
        except RefusedError as refusal:
            if refusal.breach:
                stage.record.breach(vendor, step.name, refusal.message)
            return step.error(refusal.status, refusal.message, refusal.extra or {})

    async def serve(request: web.Request) -> web.StreamResponse:
        stage.record.requests[counted] += 1
        with stage.background.request(), stage.connections.serving(request) as kept:
            dice = stage.dice
            if not dice.faults.rules:
                return await handle(request)
            subject = await step.subject(request) if dice.wants_subject(vendor, step.name) else request.path
            delay, rule = dice.request(vendor, step.name, subject, kept=kept)
            is_stream = step.name == STREAM
            if rule is not None and is_stream:
                request[RULE] = rule
            return await spoil(request, rule, delay, handle, step.error, stage.background, is_stream=is_stream)

    return serve
