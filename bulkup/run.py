"""One run from manifest to summary: admit, then send. The library's `upload` and the command line both start here."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

import anyio

from bulkup import config, manifest
from bulkup.account import Account
from bulkup.buckets import Buckets
from bulkup.carrier import carrier
from bulkup.clock import Clock
from bulkup.config import Engine, Settings
from bulkup.engine import Means, Run
from bulkup.errors import ManifestError
from bulkup.events import Notice, Subscriber, Summary
from bulkup.feed import LedgerReader
from bulkup.ledger import Leases, Ledger, Mine
from bulkup.ledgers import open_ledger
from bulkup.location import located
from bulkup.manifest.schema import COMMON
from bulkup.private import masking
from bulkup.providers import COLUMNS, MAX_BUNDLE, SCATTERED
from bulkup.providers.base import Adapter
from bulkup.rows import Complaint, Invalid, Row
from bulkup.sharding import Facts, Shard, cohort
from bulkup.tasks import in_thread, threads
from bulkup.urls import is_url, shown, url_problem

_TELL_EVERY = 5000


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent.

    Attributes:
        manifest: the manifest's name; ``-`` is standard input.
        provider: for rows that name none.
        base_url: replaces the vendor's host.
        ignore_extra: unknown columns are no error.
        skip_invalid: bad rows are recorded as failed, and the others sent.
        retry_unknown: rows whose fate is unknown are sent again.
        shard: the part of the manifest that is sent; None: all of it.
    """

    manifest: str
    provider: str | None = None
    base_url: str | None = None
    ignore_extra: bool = False
    skip_invalid: bool = False
    retry_unknown: bool = False
    shard: Shard | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A manifest that was taken into the ledger.

    Attributes:
        rows: of the shard, if it was one.
        adapters: of the providers that its rows name.
        base_url, retry_unknown, shard: as in `Order`.
    """

    run_id: str
    rows: int
    adapters: Mapping[str, Adapter]
    base_url: str | None
    retry_unknown: bool
    shard: Shard | None = None


KNOWN = COMMON.union(COLUMNS, *(kind.model_fields for kind in COLUMNS.values()))
"""Names that a complaint may show in any case: of columns and of providers."""


def admit(
    order: Order,
    ledger: Ledger,
    *,
    environment: Mapping[str, str],
    complain: Callable[[Complaint], None],
    stdin: BinaryIO | None = None,
    reading: Callable[[int], None] = lambda _rows: None,
    keep: bool = True,
    clock: Clock | None = None,
    buckets: Buckets | None = None,
) -> Admitted:
    """Take a manifest into the ledger; blocks. Nothing is sent, and while a row is bad nothing is taken in either.

    Args:
        complain: told of each complaint as it is found.
        stdin: where the manifest ``-`` is read from.
        reading: told now and then how many rows were read.
        keep: False for a dry run: needs no credentials, and `Ledger.forget` undoes it.
        buckets: reads a manifest that is not on this machine.

    Raises:
        UsageError: bad rows, missing credentials, a ledger that can't be used or written.
    """
    clock = clock or Clock()
    buckets = buckets or Buckets()
    name = _absolute(order.manifest, buckets)
    if not name.isascii() and name != name.encode("utf-8", "replace").decode("utf-8"):
        raise ManifestError(f"{name!a}: the manifest's path is not UTF-8: rename the file or its folder")
    now = datetime.fromtimestamp(clock.wall(), UTC)
    rows = manifest.read(
        order.manifest,
        COLUMNS,
        provider=order.provider,
        ignore_extra=order.ignore_extra,
        stdin=stdin,
        now=now,
        fetch=buckets.blocking,
    )
    mine = None if order.shard is None else partial(_belongs, order.shard)
    items = _counted(rows, buckets, reading)
    if mine is not None:
        items = (_excused(item, mine) for item in items)
    staged = ledger.stage(items, order.manifest, MAX_BUNDLE, complain)
    if staged.fatal or (staged.invalid and not order.skip_invalid):
        raise ManifestError(_refusal(order.manifest, staged.rows, staged.invalid, fatal=staged.fatal))
    count = staged.rows if mine is None else ledger.keep_staged(mine)
    adapters = config.adapters(ledger.staged_providers(), environment, order.base_url) if keep else {}
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    ledger.admit(name, run_id, clock.stamp(), rows=count, keep=keep, mine=mine)
    return Admitted(run_id, count, adapters, order.base_url, order.retry_unknown, order.shard)


def _belongs(shard: Shard, facts: Facts) -> bool:
    return shard.has(cohort(facts, SCATTERED))


def _excused(item: Row | Invalid | Complaint, mine: Mine) -> Row | Invalid | Complaint:
    """The row without objections, if another machine sends it: only that one knows whether it was sent before."""
    if isinstance(item, Row) and item.objections:
        facts = Facts(item.number, item.provider, item.target, item.share, item.bundled, item.filename)
        return item if mine(facts) else replace(item, objections=())
    return item


def _absolute(given: str, buckets: Buckets) -> str:
    """What a manifest is known by; raises `UsageError` if it is at a URL that can't be read."""
    if given == "-":
        return given
    if not is_url(given):
        return os.path.abspath(given)  # noqa: PTH100 - no resolving
    if (problem := url_problem(given)) is not None:
        raise ManifestError(f"{shown(given)}: the manifest's URL {problem}")
    buckets.require()
    return given


def _counted(
    items: Iterable[Row | Invalid | Complaint], buckets: Buckets, reading: Callable[[int], None]
) -> Iterator[Row | Invalid | Complaint]:
    elsewhere = False
    for count, item in enumerate(items, 1):
        if not elsewhere and isinstance(item, Row) and is_url(item.path):
            elsewhere = True
            buckets.require()
        yield item
        if count % _TELL_EVERY == 0:
            reading(count)


def _refusal(name: str, rows: int, invalid: int, *, fatal: bool) -> str:
    if fatal:
        return f"{name}: the manifest can't be used as it is; nothing was sent"
    hint = "; --skip-invalid sends the others" if invalid < rows else ""
    return f"{name}: {invalid} of {rows} rows can't be sent, so nothing was sent{hint}"


async def send(
    admitted: Admitted,
    ledger: Ledger,
    settings: Settings,
    subscribers: Sequence[Subscriber],
    *,
    ledger_thread: Executor,
    signals: bool = False,
    clock: Clock | None = None,
) -> Summary:
    """Send what was admitted; see `Run.run`. From now on only ``ledger_thread`` touches the ledger."""
    clock = clock or Clock()
    terms = replace(settings.terms(), retry_unknown=admitted.retry_unknown, shard=admitted.shard)
    reader = LedgerReader(ledger, ledger_thread)
    await _outlive(reader, clock, subscribers)
    alone = settings.engine is Engine.PROCESSES and (settings.processes or 1) == 1
    account = Account(admitted.run_id, admitted.rows, terms=terms, clock=clock, subscribers=subscribers, once=not alone)
    async with carrier(settings.tls()) as transport:
        means = Means(reader, admitted.adapters, transport, terms, clock)
        if alone:
            return await Run(account, means).run(signals=signals)
        from bulkup.crews import fleet  # noqa: PLC0415 - of no use to a single process

        async with fleet(account, means, settings, admitted.base_url) as several:
            return await several.run(signals=signals)


async def _outlive(ledger: LedgerReader, clock: Clock, subscribers: Sequence[Subscriber]) -> None:
    """Wait until no worker is left of a run that was killed: it may be about to send something."""
    leases = Leases(ledger.ledger, "")
    seconds = await in_thread(ledger.executor, leases.lapse)
    if seconds > 0:
        for subscriber in subscribers:
            subscriber(Notice(f"waiting {seconds:.0f} s for workers of an earlier run that may not have ended yet"))
        await clock.sleep(seconds)
    await in_thread(ledger.executor, leases.clear)


async def upload(
    manifest: str | os.PathLike[str],
    *,
    provider: str | None = None,
    ledger: str | os.PathLike[str] = "bulkup.db",
    base_url: str | None = None,
    environment: Mapping[str, str] | None = None,
    on_event: Subscriber | None = None,
    ignore_extra: bool = False,
    skip_invalid: bool = False,
    retry_unknown: bool = False,
    **options: object,
) -> Summary:
    """Upload every row of a manifest, once, and say what became of each.

    Running it again with the same manifest and ledger is resuming: completed rows are skipped.

    Args:
        manifest: a CSV, TSV, JSON or JSON lines file, also compressed; see the README.
        provider: for rows that name none.
        ledger: the SQLite file that keeps the results, made if it is not there; or a PostgreSQL database's URL.
        base_url: replaces the vendor's host, such as a sandbox's.
        environment: where credentials are looked up; by default the process's.
        on_event: told of each `DocumentEnded`, `Notice` and the `Summary`, in the event loop.
        ignore_extra: unknown columns are no error.
        skip_invalid: bad rows are recorded as failed, and the others sent.
        retry_unknown: rows whose fate is unknown are sent again.
        options: the settings of `bulkup.config.Settings`, such as ``concurrency=32``.

    Returns:
        The summary; a failed row is no exception.

    Raises:
        ManifestError: rows are bad, and nothing was sent; ``complaints`` says which and why.
        ConfigError: a credential or setting is missing or makes no sense.
        LedgerError: the ledger can't be used.
    """
    settings = config.settings(ledger=located(ledger), **options)
    order = Order(os.fspath(manifest), provider, base_url, ignore_extra, skip_invalid, retry_unknown, settings.shard)
    complaints: list[Complaint] = []
    complain = masking(complaints.append, KNOWN) if settings.private_names else complaints.append
    env = os.environ if environment is None else environment
    with threads(1, "ledger") as thread:  # all that touches the ledger follows one another, also when cancelled
        opening = thread.submit(open_ledger, settings.ledger)
        try:
            opened = await asyncio.wrap_future(opening)
            prepare = partial(admit, order, opened, environment=env, complain=complain, buckets=settings.buckets())
            admitted = await in_thread(thread, prepare)
            return await send(admitted, opened, settings, [on_event] if on_event else [], ledger_thread=thread)
        except ManifestError as error:
            raise ManifestError(str(error), complaints) from None
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(thread, _close, opening)


def _close(opening: Future[Ledger]) -> None:
    """Close a ledger, if it was opened."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
