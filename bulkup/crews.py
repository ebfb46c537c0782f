"""Which workers carry out a run that more than one process shares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bulkup import logs
from bulkup.account import Account
from bulkup.cluster import joined
from bulkup.config import Engine, Settings
from bulkup.engine import Means
from bulkup.fleet import Fleet
from bulkup.ledger import Leases
from bulkup.processes import Processes
from bulkup.tasks import in_thread
from bulkup.worker import Assignment

_SAMPLE = 20
"""Files that are looked at, to see whether all machines reach them."""


@asynccontextmanager
async def fleet(account: Account, means: Means, settings: Settings, base_url: str | None) -> AsyncIterator[Fleet]:
    """The workers that the user asked for.

    Raises:
        ConfigError: there are none, or they can't reach what they need.
    """
    on_cluster = settings.engine is Engine.DASK
    pattern = Assignment(
        "",
        settings.ledger,
        account.run_id,
        account.rows,
        means.terms,
        settings.ca_file,
        settings.lease,
        logs.verbosity(),
        tuple(means.adapters),
        base_url,
        None if on_cluster else means.adapters,  # a cluster shows what it is given
    )
    # more workers than there may be uploads in flight would have nothing to do
    most = means.terms.concurrency
    if not on_cluster:
        yield Fleet(account, means, crew=Processes(), pattern=pattern, count=min(settings.processes or 1, most))
        return
    async with joined(settings.scheduler or "", means.clock, means.terms.backoff.patience) as cluster:
        leases = Leases(means.ledger.ledger, account.run_id)
        await cluster.reach(await in_thread(means.ledger.executor, leases.files, _SAMPLE))
        count = min(settings.processes or cluster.workers, most)
        yield Fleet(account, means, crew=cluster, pattern=pattern, count=count)
