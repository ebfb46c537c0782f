"""A stream of Server-Sent Events, with heartbeats, and with the faults that a stream can have."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal

from aiohttp import web

from bulkup.sandbox.chaos import reset
from bulkup.sandbox.faults import Rule
from bulkup.sandbox.steps import RULE

HeartbeatForm = Literal["comment", "event", "data"]

_HEARTBEATS: Final[Mapping[HeartbeatForm, bytes]] = {
    "comment": b": heartbeat\n\n",
    "event": b"event: heartbeat\ndata: {}\n\n",
    "data": b'data: {"type":"heartbeat"}\n\n',
}
_GARBAGE: Final = b'data: {"type":"complete","docu\n\ndata: \xff\xfe\xfa\n\nnonsense\n\ndata: [1, 2\n\ndata:\n\n'
_DEFAULT_EVENTS: Final = {"drop_stream": 1, "garbage_stream": 0, "stall": 0}
_FOREVER = 3600.0


async def serve_events(
    request: web.Request, events: asyncio.Queue[bytes | None], heartbeat: float, form: HeartbeatForm
) -> web.StreamResponse:
    """Send events until the queue gives None or the client leaves.

    Args:
        request: the request to answer.
        events: the data of each event; None ends the stream.
        heartbeat: seconds of silence after which a heartbeat is sent.
        form: how a heartbeat looks.
    """
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await answer.prepare(request)
    # a client may leave between two events, as it should after `complete`
    with suppress(ConnectionResetError):
        await _serve(request, answer, events, heartbeat, form)
    return answer


async def _serve(
    request: web.Request,
    answer: web.StreamResponse,
    events: asyncio.Queue[bytes | None],
    heartbeat: float,
    form: HeartbeatForm,
) -> None:
    rule: Rule | None = request.get(RULE)
    sent = 0
    while True:
        if rule is not None and sent >= (_DEFAULT_EVENTS[rule.kind] if rule.events is None else rule.events):
            if await _spoil(request, rule, answer):
                return
            rule = None
        try:
            async with asyncio.timeout(heartbeat):
                data = await events.get()
        except TimeoutError:
            await answer.write(_HEARTBEATS[form])
            continue
        if data is None:
            await answer.write_eof()
            return
        await answer.write(b"data: " + data + b"\n\n")
        sent += 1


async def _spoil(request: web.Request, rule: Rule, answer: web.StreamResponse) -> bool:
    """Carry out the stream's fault; true if that was its end."""
    if rule.kind == "garbage_stream":
        await answer.write(_GARBAGE)
        return False
    if rule.kind == "stall":
        await asyncio.sleep(_FOREVER if rule.seconds is None else rule.seconds)
        reset(request)
    elif request.transport is not None:
        request.transport.close()
    return True
