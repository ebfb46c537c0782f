"""A worker: one of several processes that carry out a run together, on this machine or on others.

It claims shards of the ledger one after the other and does with their rows what a run by itself would do. What it
leaves half-way when it ends before its time is seen to by the coordinator (`bulkup.fleet`), once nobody else is at
work.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from bulkup import config, private
from bulkup.account import Account
from bulkup.carrier import carrier
from bulkup.clock import Clock
from bulkup.engine import Asks, Means, Part, Run
from bulkup.events import Event, Notice
from bulkup.feed import LedgerReader
from bulkup.ledger import Lease, Leases, Order, Span
from bulkup.ledgers import open_ledger
from bulkup.location import Location
from bulkup.providers.base import Adapter
from bulkup.tasks import in_thread, threads
from bulkup.terms import Terms
from bulkup.tls import trusting

_RENEWALS = 8
"""How often a lease is renewed before it would be over."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker needs to know, however it gets there; it can be pickled.

    Attributes:
        name: of the worker; no other has it.
        ledger: where it is.
        run_id: whose shards it claims.
        rows: of the run.
        terms: its share.
        ca_file: certificates (PEM) to trust besides the system's.
        lease: seconds of silence after which it is given up.
        verbose: see `bulkup.logs.write`.
        adapters: by provider, with their credentials; None: those of the worker's own environment are taken.
        base_url: see `bulkup.run.Order.base_url`; where ``adapters`` is None.
        providers: that the run's rows name.
    """

    name: str
    ledger: Location
    run_id: str
    rows: int
    terms: Terms
    ca_file: Path | None
    lease: float
    verbose: int
    providers: tuple[str, ...]
    base_url: str | None
    adapters: Mapping[str, Adapter] | None = field(repr=False)


async def work(assignment: Assignment, *, begun: Callable[[Run], None] = lambda _: None) -> None:
    """Carry out shards until there are none left, or the coordinator says that it is enough.

    Args:
        begun: is given the run, which can be interrupted.

    Raises:
        LeaseLostError: the worker was silent for too long; others go on with its rows.
        LedgerError: the ledger can't be opened.
        ConfigError: a credential is missing here.
        LedgerWriteError: it can't be written any more.
    """
    adapters, terms = assignment.adapters, assignment.terms
    if adapters is None:
        adapters = config.adapters(assignment.providers, os.environ, assignment.base_url)
    with private.logs(private=terms.private_names), threads(1, "ledger") as thread:
        ledger = await in_thread(thread, lambda: open_ledger(assignment.ledger, exclusive=False))
        try:
            leases = Leases(ledger, assignment.run_id)
            lease = await in_thread(thread, leases.register, assignment.name, assignment.lease)
            clock = Clock()

            def tell(event: Event) -> None:
                if isinstance(event, Notice):
                    thread.submit(leases.say, event.text, event.gist)

            account = Account(assignment.run_id, assignment.rows, terms=terms, clock=clock, subscribers=[tell])
            async with carrier(trusting(assignment.ca_file)) as transport:
                duties = _Duties(leases, lease, thread, assignment.lease / _RENEWALS)
                part = Part(Asks.NOTHING, duties.claims, lambda: lease.held, lambda: duties.report(run))
                run = Run(account, Means(LedgerReader(ledger, thread), adapters, transport, terms, clock), part)
                begun(run)
                await run.carry_out()
            await in_thread(thread, leases.release, lease.worker, run.requests)
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(thread, ledger.close)


class _Duties:
    """What a worker does at the ledger beside its rows."""

    def __init__(self, leases: Leases, lease: Lease, thread: Executor, every: float) -> None:
        self._leases = leases
        self._lease = lease
        self._thread = thread
        self._every = every

    async def claims(self, provider: str) -> AsyncGenerator[Span, None]:
        """The shards that this worker gets, one after the other."""
        while (span := await in_thread(self._thread, self._leases.claim, provider, self._lease.worker)) is not None:
            yield span
            await in_thread(self._thread, self._leases.fed, span)

    async def report(self, run: Run) -> None:
        """Renew the lease, and do what the coordinator says."""
        heard = Order.GO_ON
        while True:
            order = await in_thread(self._thread, self._leases.renew, self._lease.worker, run.requests)
            for _ in range(order - heard):
                run.interrupt()
            heard = max(heard, order)
            await anyio.sleep(min(self._every, _HEARS_WITHIN))


_HEARS_WITHIN = 1.0
"""Seconds between two questions whether there is something else to do."""
