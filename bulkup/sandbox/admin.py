"""The sandbox's own requests: its truth as JSON, another fault plan, an object's bytes. No credentials needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from anyio import to_thread

from bulkup.sandbox.faults import Faults
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import json_answer, json_error
from bulkup.sandbox.vendor import Vendor


class Admin:
    """``GET /_sandbox/state``, ``PUT /_sandbox/faults``, ``GET /_sandbox/object?key=``.

    Args:
        stage: the record and the objects.
        vendors: whose state is told, by name.
        replace: sets another fault plan; raises ValueError for a bad one.
    """

    def __init__(self, stage: Stage, vendors: Sequence[Vendor], replace: Callable[[Faults], None]) -> None:
        self._stage = stage
        self._vendors = vendors
        self._replace = replace

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/_sandbox/state", self._state),
            web.put("/_sandbox/faults", self._faults),
            web.get("/_sandbox/object", self._object),
        ]

    async def _state(self, _request: web.Request) -> web.StreamResponse:
        record = self._stage.record
        counts: dict[str, dict[str, int]] = {}
        for (vendor, step), count in record.requests.items():
            counts.setdefault(vendor, {})[step] = count
        spoilt = [{"vendor": v, "step": s, "kind": k, "times": n} for (v, s, k), n in self._stage.dice.spoilt.items()]
        state: Mapping[str, object] = {
            "requests": counts,
            "spoilt": spoilt,
            "limits": {str(number): limit.seconds for number, limit in self._stage.dice.limits.items()},
            "streams": {"open": record.requests.streams.open, "max": record.requests.streams.max},
            "puts": {"open": record.requests.puts.open, "max": record.requests.puts.max},
            "leaks": record.leaks,
            "breaches": record.breaches,
            **{vendor.name: await vendor.state() for vendor in self._vendors},
        }
        return json_answer(state)

    async def _faults(self, request: web.Request) -> web.StreamResponse:
        try:
            self._replace(Faults.parse(await request.read()))
        except ValueError as error:
            return json_error(400, str(error), {})
        return web.Response(status=204)

    async def _object(self, request: web.Request) -> web.StreamResponse:
        key = request.query.get("key", "")
        if key not in self._stage.store:
            return json_error(404, "no such object", {})
        content = await to_thread.run_sync(self._stage.store.read, key)
        return web.Response(body=content, content_type="application/octet-stream")
