"""``bulkup sandbox``: stand-ins for the vendors, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer

from bulkup import logs
from bulkup.errors import UsageError


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8420,
    faults: Annotated[
        Path | None, typer.Option(help="A fault plan, JSON: latency, refusals, dropped connections, with a seed.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Keep what is uploaded below this folder.", show_default="in memory")
    ] = None,
    s3: Annotated[
        bool, typer.Option("--s3", help="Hand out URLs of a real S3 server, SeaweedFS; needs the extra s3.")
    ] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log what is going on.")] = 0,
) -> None:
    """Serve stand-ins for the vendors and their object store, until Ctrl-C; prints the `export` lines to use them.

    Example: bulkup sandbox --port 8420
    """
    from bulkup.sandbox import Faults  # noqa: PLC0415 - takes long to load, and is no business of other commands
    from bulkup.sandbox.serve import serve  # noqa: PLC0415 - likewise

    logs.write(verbose)

    async def main() -> None:
        plan = Faults.load(faults) if faults else None
        await serve(host, port, plan, data, (), _announce, s3=s3)

    try:
        anyio.run(main)
    except OSError as error:
        raise UsageError(f"{error.filename or f'{host}:{port}'}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def _announce(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - whoever started us waits for it
