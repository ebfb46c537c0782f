"""``bulkup run``: the main job."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import anyio
import orjson
import typer

from bulkup import config, logs
from bulkup import run as running
from bulkup.cli import options
from bulkup.config import Engine, Settings
from bulkup.events import Subscriber, Summary
from bulkup.ledger import Ledger
from bulkup.ledgers import open_ledger
from bulkup.plan import OnChange
from bulkup.private import masking
from bulkup.providers import PROVIDERS
from bulkup.rows import Complaint
from bulkup.run import Admitted, Order
from bulkup.survey import survey
from bulkup.tasks import threads
from bulkup.terminal import JsonLines, progress, size, summary_lines

_SENDING = "Sending"
_SHARING = "Sharing the work"
_MANIFEST = "Manifest"
_SECURITY = "Security"
_LIMITS = "Limits: no more rows are taken then, and what is in flight is finished; run again for the rest"


def run(  # noqa: PLR0913 - one parameter is one option
    manifest: Annotated[
        str,
        typer.Argument(
            help="CSV, TSV, JSON or JSON lines, also .gz or .zst, or its URL; - is standard input (JSON lines)."
        ),
    ],
    *,
    provider: Annotated[
        str | None, typer.Option(help=f"For rows that name none: {', '.join(PROVIDERS)}.", rich_help_panel=_MANIFEST)
    ] = None,
    ledger: options.Ledger = None,
    base_url: Annotated[
        str | None, typer.Option(help="Another host for the vendor, such as a sandbox's.", rich_help_panel=_SENDING)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be sent.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="JSON lines on standard output: each row, then the summary.")
    ] = False,
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Unknown columns are no error.", rich_help_panel=_MANIFEST)
    ] = False,
    skip_invalid: Annotated[
        bool,
        typer.Option("--skip-invalid", help="Record bad rows as failed, send the others.", rich_help_panel=_MANIFEST),
    ] = False,
    allow_empty: Annotated[
        bool | None, typer.Option("--allow-empty", help="Send empty files too.", rich_help_panel=_MANIFEST)
    ] = None,
    on_change: Annotated[
        OnChange | None,
        typer.Option(
            help="A completed row whose file has changed since.", show_default="upload", rich_help_panel=_MANIFEST
        ),
    ] = None,
    retry_unknown: Annotated[
        bool,
        typer.Option("--retry-unknown", help="Send rows again whose fate is unknown.", rich_help_panel=_MANIFEST),
    ] = False,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "-c",
            "--concurrency",
            help="Uploads in flight per vendor, at most.",
            show_default="16",
            rich_help_panel=_SENDING,
        ),
    ] = None,
    adaptive: Annotated[
        bool | None,
        typer.Option(
            "--adaptive/--no-adaptive",
            help="Start low, and send as much at a time as the vendor takes; or always --concurrency.",
            show_default="adaptive",
            rich_help_panel=_SENDING,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests per second to each of a vendor's servers, at most.",
            show_default="what the vendor takes",
            rich_help_panel=_SENDING,
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for one answer.", show_default="30", rich_help_panel=_SENDING)
    ] = None,
    stall_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds without a byte moving.", show_default="30", rich_help_panel=_SENDING),
    ] = None,
    retry_for: Annotated[
        float | None,
        typer.Option(help="Seconds one step of one row may be retried.", show_default="60", rich_help_panel=_SENDING),
    ] = None,
    job_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds a vendor's job is followed.", show_default="600", rich_help_panel=_SENDING),
    ] = None,
    drain: Annotated[
        float | None,
        typer.Option(help="Seconds for what is in flight after Ctrl-C.", show_default="30", rich_help_panel=_SENDING),
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Hold what the vendor says of the bytes against them: also where that costs an extra request; or not.",
            show_default="where it costs none",
            rich_help_panel=_SENDING,
        ),
    ] = None,
    max_failures: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="Stop when more rows fail, of a hundred perhaps.", rich_help_panel=_LIMITS),
    ] = None,
    max_duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after 90s, 15m, 2h, 1h30m.", rich_help_panel=_LIMITS)
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Stop when so many requests were sent.", rich_help_panel=_LIMITS)
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Processes that share the work: auto is one for each core.",
            show_default="1; of a cluster one for each worker",
            rich_help_panel=_SHARING,
        ),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(
            help="What carries out the run: processes of this machine, or a Dask cluster.",
            show_default="processes",
            rich_help_panel=_SHARING,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of the Dask cluster: tcp://HOST:8786.", rich_help_panel=_SHARING),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only the rows of one of N parts of the manifest, such as 3/8: for several machines, by hand.",
            show_default="all rows",
            rich_help_panel=_MANIFEST,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Bytes of files held at a time: 64MiB, 1GiB.", rich_help_panel=_LIMITS),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="A folder that no file may lie outside of, wherever links lead.", rich_help_panel=_SECURITY),
    ] = None,
    private_names: Annotated[
        bool | None,
        typer.Option(
            "--private-names",
            help="Show rows by their number: no file names, cells or words of vendors.",
            rich_help_panel=_SECURITY,
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            help="Certificates (PEM) of authorities to trust besides the system's.", rich_help_panel=_SECURITY
        ),
    ] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log what is going on; -vv each request.")
    ] = 0,
) -> None:
    """Upload every row of a manifest, once. The same command again resumes, and skips what is completed.

    Example: bulkup run manifest.csv --provider lightreach --ledger archive.db
    """
    logs.write(verbose)
    settings = config.settings(
        ledger=ledger,
        concurrency=concurrency,
        adaptive=adaptive,
        rate=rate,
        timeout=timeout,
        stall_timeout=stall_timeout,
        retry_for=retry_for,
        job_timeout=job_timeout,
        drain=drain,
        on_change=on_change,
        allow_empty=allow_empty,
        verify=verify,
        max_failures=max_failures,
        max_duration=max_duration,
        max_requests=max_requests,
        processes=processes,
        engine=engine,
        scheduler=scheduler,
        shard=shard,
        memory=memory,
        root=root,
        private_names=private_names,
        ca_file=ca_file,
    )
    if settings.private_names:
        logs.keep_names_private()
    order = Order(manifest, provider, base_url, ignore_extra, skip_invalid, retry_unknown, settings.shard)
    if dry_run:
        _dry_run(order, settings, as_json=json)
        return
    summary = upload(order, settings, environment=os.environ, as_json=json)
    raise typer.Exit(summary.exit_code)


_COLLECTED_EVERY = 10_000
"""Objects made, and not ended by themselves, before cycles are looked for."""


def upload(order: Order, settings: Settings, *, environment: Mapping[str, str], as_json: bool) -> Summary:
    """Admit and send, with progress on standard error and the result on standard output."""
    gc.freeze()  # what is loaded stays: to look through it again and again takes a tenth of a run
    gc.set_threshold(_COLLECTED_EVERY)
    with open_ledger(settings.ledger) as ledger, progress() as shown:
        admitted = running.admit(
            order,
            ledger,
            environment=environment,
            complain=_complaining(settings),
            stdin=sys.stdin.buffer,
            reading=shown.reading,
            buckets=settings.buckets(),
        )
        subscribers: list[Subscriber] = [shown]
        if as_json:
            subscribers.append(JsonLines(sys.stdout.buffer))
        summary = send(admitted, ledger, settings, subscribers)
    if not as_json:
        for line in summary_lines(summary):
            typer.echo(line)
        typer.echo(f"ledger: {settings.ledger.where}")
        _hint(summary, settings)
    return summary


def send(admitted: Admitted, ledger: Ledger, settings: Settings, subscribers: list[Subscriber]) -> Summary:
    """Run the event loop, on uvloop where it exists."""

    async def main() -> Summary:
        with threads(1, "ledger") as thread:
            return await running.send(admitted, ledger, settings, subscribers, ledger_thread=thread, signals=True)

    return anyio.run(main, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def _hint(summary: Summary, settings: Settings) -> None:
    """What to do next, on standard error."""
    shown = settings.ledger.file or "URL"
    name = f" --ledger {shown}" if settings.ledger != Settings.model_fields["ledger"].default else ""
    if summary.failed:
        typer.echo(f"failed rows, as a manifest: bulkup export{name} --state failed --format csv", err=True)
    if summary.unknown:
        typer.echo(
            f"unknown rows need a look at the vendor: bulkup export{name} --state unknown --format csv", err=True
        )
    if summary.pending:
        typer.echo("pending rows: run the same command again", err=True)


def _dry_run(order: Order, settings: Settings, *, as_json: bool) -> None:
    with open_ledger(None if settings.ledger.missing else settings.ledger) as ledger:
        admitted = running.admit(
            order,
            ledger,
            environment=os.environ,
            complain=_complaining(settings),
            stdin=sys.stdin.buffer,
            keep=False,
            buckets=settings.buckets(),
        )
        found = survey(ledger, admitted.run_id, admitted.rows, settings.terms())
        ledger.forget()
    if as_json:
        sys.stdout.buffer.write(orjson.dumps({"event": "plan"} | found.facts(), option=orjson.OPT_APPEND_NEWLINE))
        return
    what = "dry run" if found.shard is None else f"dry run of shard {found.shard}"
    typer.echo(
        f"{what}, nothing was sent: {found.rows} rows = {found.send} to send ({size(found.bytes)} in {found.inits} "
        f"inits) + {found.skip} completed before + {found.refuse} changed + {found.unfinished} to ask about + "
        f"{found.invalid} invalid"
    )
    if found.missing:
        typer.echo(f"{found.missing} of the files to send do not exist")


def _complaining(settings: Settings) -> Callable[[Complaint], None]:
    return masking(_complain, running.KNOWN) if settings.private_names else _complain


def _complain(complaint: Complaint) -> None:
    typer.echo(str(complaint), err=True)
