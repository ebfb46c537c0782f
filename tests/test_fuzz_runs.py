"""Whole runs against vendors whose answers have parts replaced by anything: each row has its end, nothing breaks."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from bulkup.sandbox import Faults, Sandbox
from tests.conftest import Archive
from tests.test_fuzz_answers import HOSTILE, places
from tests.vendors import CASES, Case

RUNS = int(os.environ.get("EXAMPLES", "600")) // 100
"""For each way through each vendor."""
ENDS = {"completed", "failed", "unknown", "pending", "initiated", "stored"}
LONGEST = 1200
_HERE = "https://127.0.0.1:1/"
VALUES = [_HERE if isinstance(value, str) and "//h" in value else value for value in HOSTILE]
"""No name is looked up for a test."""


class Garbling(Sandbox):
    """Replaces, drops or repeats parts of every third answer of an API.

    Attributes:
        dice: every chance there is; None: answers are left alone.
        garbled: how many answers were spoilt.
    """

    dice: random.Random | None = None
    garbled = 0

    def _application(self) -> web.Application:
        application = super()._application()

        @web.middleware
        async def garbling(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            answer = await handler(request)
            if self.dice is None or self.dice.random() > 1 / 3 or not isinstance(answer, web.Response):
                return answer
            if answer.content_type != "application/json" or not isinstance(answer.body, bytes):
                return answer
            self.garbled += 1
            return web.Response(
                status=answer.status, body=garbled(answer.body, self.dice), content_type="application/json"
            )

        application.middlewares.append(garbling)
        return application


def garbled(body: bytes, dice: random.Random) -> bytes:
    """Some JSON with a part of it replaced, dropped or repeated."""
    whole = {"": json.loads(body)}
    *path, last = dice.choice(places(whole)[1:])
    holder: Any = whole
    for name in path:
        holder = holder[name]
    deed = dice.choice(["replace", "replace", "drop", "repeat"])
    if deed == "repeat" and isinstance(holder, list):
        holder.append(holder[last])
    elif deed == "drop" and path:
        del holder[last]
    else:
        holder[last] = dice.choice(VALUES)
    return json.dumps(whole[""]).encode()


async def run(archive: Archive, case: Case, seed: int) -> int:
    """Two runs of two rows, the second without harm; how many answers were spoilt."""
    for number in range(2):
        archive.add(f"{number}.pdf", b"%PDF-1.7 " + str(number).encode(), **case.row(number))
    async with Garbling(options=case.options or (), faults=Faults()) as sandbox:
        sandbox.dice = random.Random(f"{case.id} {seed}")
        given: dict[str, Any] = {
            "environment": sandbox.environment() | dict(case.settings),
            "retry_for": 0.5,
            "job_timeout": 1.0,
        }
        summary = await archive.upload(sandbox, **given, settle=0.0)
        check(archive, summary.rows, sandbox, case)
        sandbox.dice = None
        summary = await archive.upload(sandbox, **given, settle=0.0)
        check(archive, summary.rows, sandbox, case)
        assert summary.completed + summary.skipped + summary.failed + summary.unknown == 2
        return sandbox.garbled


def check(archive: Archive, rows: int, sandbox: Garbling, case: Case) -> None:
    """Both rows are where the contract has a place for them, and say why in a line that shows no signature."""
    assert rows == 2
    assert {row["state"] for row in archive.ledger_rows()} <= ENDS
    told = [str(end.error or "") for end in archive.ended().values()] + archive.notices()
    assert [text for text in told if len(text) >= LONGEST or len(text.splitlines()) > 1] == []
    assert not any("X-Amz-Signature=" in text for text in told)
    assert sandbox.leaks == 0
    if not case.repeatable:
        assert sandbox.requests[case.provider, case.init] <= 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_any_answers_leave_each_row_with_an_end(archive: Archive, case: Case) -> None:
    """Nothing hangs and nothing breaks; what people would notice is asked for once a row."""
    folders = [archive.folder / str(seed) for seed in range(RUNS)]
    for folder in folders:
        folder.mkdir()
    spoilt = await asyncio.gather(*(run(Archive(folder), case, seed) for seed, folder in enumerate(folders)))
    assert sum(spoilt) > 0
