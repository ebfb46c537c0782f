"""The server of all stand-ins: start, stop, and what tests ask of it."""

from __future__ import annotations

import ipaddress
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self, TypeVar

from aiohttp import web

from bulkup.sandbox.admin import Admin
from bulkup.sandbox.alloy.vendor import Alloy
from bulkup.sandbox.auco.vendor import Auco
from bulkup.sandbox.dice import Dice
from bulkup.sandbox.faults import Faults
from bulkup.sandbox.kompliant.vendor import Kompliant
from bulkup.sandbox.lightreach.vendor import LightReach
from bulkup.sandbox.limits import Limit
from bulkup.sandbox.loanpro.vendor import LoanPro
from bulkup.sandbox.objectstore.objects import ObjectStore
from bulkup.sandbox.objectstore.seaweed import SeaweedFS
from bulkup.sandbox.objectstore.signing import Signer
from bulkup.sandbox.port import PORT, Port
from bulkup.sandbox.record import Requests
from bulkup.sandbox.registry import VENDORS
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import served
from bulkup.sandbox.vendor import Vendor, VendorOptions

V = TypeVar("V", bound=Vendor)
_SHUTDOWN_SECONDS: Final = 0.01


class Sandbox:
    """Stand-ins for the vendors and their object store, on loopback; an async context manager.

    Args:
        host: a loopback address, or ``localhost``.
        port: 0: any free one.
        faults: the fault plan; its seed also makes the fixed tokens.
        options: one vendor's switches, or those of several; the rest have their defaults.
        data: keep the uploaded bytes below this folder; None: in memory.
        clock: the time now, as a Unix time in seconds.
        s3: hand out URLs of a real S3 server, SeaweedFS, which it starts; needs the extra ``s3``.

    Raises:
        ValueError: the host is not loopback (this is a stand-in without real security), or the fault plan names what
            isn't there.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        options: VendorOptions | Iterable[VendorOptions] = (),
        data: Path | None = None,
        clock: Callable[[], float] = time.time,
        *,
        s3: bool = False,
    ) -> None:
        if not _is_loopback(host):
            raise ValueError(f"the sandbox serves on loopback only, not on {host!r}")
        self._host = host
        self._port = port
        plan = faults or Faults()
        self._stage = Stage(plan.seed, Signer(secrets.token_hex(32)), clock, ObjectStore(data), Dice(plan, clock))
        given = [options] if isinstance(options, VendorOptions) else list(options)
        self._vendors = [_make(vendor, self._stage, given) for vendor in VENDORS]
        self._steps = {vendor.name: list(vendor.steps()) for vendor in self._vendors}
        self.faults = plan
        self._s3 = s3
        self._open = AsyncExitStack()

    @property
    def url(self) -> str:
        """The server's URL, without a slash at its end."""
        return self._stage.url

    @property
    def faults(self) -> Faults:
        """The fault plan; setting another starts its counts anew."""
        return self._stage.dice.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        faults.check_names({vendor: {step.name for step in steps} for vendor, steps in self._steps.items()})
        self._stage.dice = Dice(faults, self._stage.clock)

    @property
    def requests(self) -> Requests:
        """How often each ``(vendor, step)`` was requested; ``.streams`` and ``.puts`` gauge how many at once."""
        return self._stage.record.requests

    @property
    def spoilt(self) -> Counter[tuple[str, str, str]]:
        """How often the present fault plan hit, by ``(vendor, step, kind)``; such as ``status 429`` for the kind."""
        return self._stage.dice.spoilt

    @property
    def limits(self) -> Mapping[int, Limit]:
        """The limits of the present fault plan, and what they did, by the rule's number in the plan."""
        return self._stage.dice.limits

    @property
    def leaks(self) -> int:
        """How often a credential was sent to a signed URL."""
        return self._stage.record.leaks

    @property
    def breaches(self) -> list[str]:
        """A line for each time that a client broke a rule of a guide."""
        return self._stage.record.breaches

    @property
    def store(self) -> ObjectStore:
        """The uploaded bytes."""
        return self._stage.store

    @property
    def lightreach(self) -> LightReach:
        """The LightReach stand-in's truth."""
        return self._stand_in(LightReach)

    @property
    def loanpro(self) -> LoanPro:
        """The LoanPro stand-in's truth."""
        return self._stand_in(LoanPro)

    @property
    def alloy(self) -> Alloy:
        """The Alloy stand-in's truth."""
        return self._stand_in(Alloy)

    @property
    def kompliant(self) -> Kompliant:
        """The Kompliant stand-in's truth."""
        return self._stand_in(Kompliant)

    @property
    def auco(self) -> Auco:
        """The Auco stand-in's truth."""
        return self._stand_in(Auco)

    def _stand_in(self, kind: type[V]) -> V:
        return next(vendor for vendor in self._vendors if isinstance(vendor, kind))

    def environment(self) -> dict[str, str]:
        """The environment variables by which `bulkup` finds the stand-ins, credentials included."""
        return {name: value for vendor in self._vendors for name, value in vendor.environment().items()}

    async def __aenter__(self) -> Self:
        stage = self._stage
        async with AsyncExitStack() as stack:
            application = self._application()
            runner = web.AppRunner(
                application,
                access_log=None,
                handler_cancellation=True,
                shutdown_timeout=_SHUTDOWN_SECONDS,
            )
            self._listening = application[PORT] = Port(runner, stage.connections)
            application.on_response_prepare.append(self._listening.prepare)
            await runner.setup()
            stack.callback(self._listening.release)
            stack.push_async_callback(runner.cleanup)
            port = await self._listening.listen(self._host, self._port)
            stage.url = f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{port}"
            stack.push_async_callback(stage.background.stop)
            if self._s3:
                server = SeaweedFS(stage.signer, stage.clock, stage.store, stage.landed)
                stage.s3 = (await stack.enter_async_context(server)).url
            self._open = stack.pop_all()
        return self

    async def close_port(self) -> None:
        """Refuse connections until `open_port`; the port stays this sandbox's."""
        await self._listening.close()

    async def open_port(self) -> None:
        """Listen again."""
        await self._listening.open()

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=sys.maxsize)
        for vendor in self._vendors:
            for step in [*self._steps[vendor.name], vendor.unknown()]:
                handler = served(step, vendor.name, self._stage)
                application.router.add_route(step.method, step.path, handler)
        application.add_routes(Admin(self._stage, self._vendors, self._replace).routes())
        return application

    def _replace(self, faults: Faults) -> None:
        self.faults = faults


def _make(vendor: type[Vendor], stage: Stage, given: list[VendorOptions]) -> Vendor:
    options = next((options for options in given if type(options) is vendor.options_type), vendor.options_type())
    return vendor(stage, options)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
