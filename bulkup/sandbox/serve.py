"""Serve the stand-ins until told to stop; behind `bulkup sandbox`."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio

from bulkup.sandbox.faults import Faults
from bulkup.sandbox.sandbox import Sandbox
from bulkup.sandbox.vendor import VendorOptions


async def serve(
    host: str,
    port: int,
    faults: Faults | None,
    data: Path | None,
    options: VendorOptions | Iterable[VendorOptions],
    announce: Callable[[str], None],
    *,
    s3: bool = False,
) -> None:
    """Serve until cancelled, or until SIGINT or SIGTERM comes.

    Args:
        host: as `Sandbox` takes it.
        port: as `Sandbox` takes it.
        faults: as `Sandbox` takes it.
        data: as `Sandbox` takes it.
        options: as `Sandbox` takes it.
        s3: as `Sandbox` takes it.
        announce: is called with each ``export NAME=value`` line once the server listens, and last with a comment.

    Raises:
        ValueError: as `Sandbox`.
        OSError: the port can't be had.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with Sandbox(host, port, faults, options, data, s3=s3) as sandbox:
            for name, value in sandbox.environment().items():
                announce(f"export {name}={shlex.quote(value)}")
            announce(f"# serving on {sandbox.url} until Ctrl-C")
            async for _ in signals:
                return
