"""What the user set for a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bulkup.buckets import Buckets
from bulkup.budget import Budget
from bulkup.plan import OnChange
from bulkup.schedule import Backoff
from bulkup.sharding import Shard
from bulkup.track import Following
from bulkup.transport import Limits


@dataclass(frozen=True, slots=True)
class Terms:
    """A run's settings; seconds throughout.

    Attributes:
        concurrency: uploads (an init with its transfers) in flight per vendor, at most.
        adaptive: their number starts low and follows what the vendor takes; else it is always `concurrency`.
        rate: requests per second to each server of a vendor, at most; None: as many as it takes.
        transfers: transfers in flight per vendor; never less than ``concurrency``, so that no URL waits for its turn.
        tracked: jobs followed at once per vendor; while there are so many, no init is sent.
        limits: deadlines of one exchange.
        backoff: retries of one step of one row.
        following: how jobs are followed.
        job_timeout: how long a vendor's job is followed.
        settle: how long a job whose bytes may have landed unnoticed is given to complete by itself, before its
            documents are sent again; longer where the ledger knows that the vendor takes longer.
        drain: how long work in flight may go on after the first interrupt.
        memory: bytes of bodies held at a time, of all vendors together: small files from before their init until they
            are sent, and of large ones the chunks on their way.
        budget: where the run stops by itself.
        on_change: what happens to a completed row whose file holds something else now.
        allow_empty: an empty file is sent.
        verify: what the vendor says of the bytes is held against them: None, where that costs no extra request; True,
            where it costs one, too; False, nowhere, and nothing is hashed.
        root: a folder in which all files have to lie, absolute and without links; None: they may lie anywhere.
        private_names: events and logs name no row but by its number; see `bulkup.private`.
        retry_unknown: what is still unknown after asking is sent again.
        shard: the part of the manifest that the run is about; None: all of it.
        buckets: reads documents that are not on this machine.
    """

    concurrency: int = 16
    adaptive: bool = True
    rate: float | None = None
    transfers: int = 64
    tracked: int = 1000
    limits: Limits = field(default_factory=Limits)
    backoff: Backoff = field(default_factory=Backoff)
    following: Following = field(default_factory=Following)
    job_timeout: float = 600.0
    settle: float = 10.0
    drain: float = 30.0
    memory: int = 256 * 1024 * 1024
    budget: Budget = field(default_factory=Budget)
    on_change: OnChange = OnChange.UPLOAD
    allow_empty: bool = False
    verify: bool | None = None
    root: str | None = None
    private_names: bool = False
    retry_unknown: bool = False
    shard: Shard | None = None
    buckets: Buckets = field(default_factory=Buckets)

    @property
    def shard_name(self) -> str | None:
        """The shard as it is told of."""
        return None if self.shard is None else str(self.shard)

    def shared(self, count: int) -> list[Terms]:
        """What each of several workers gets, which together keep to these; not the budget, which is for all of them."""
        follow = self.following
        return [
            replace(
                self,
                concurrency=_part(self.concurrency, count, index),
                rate=None if self.rate is None else self.rate / count,
                transfers=_part(self.transfers, count, index),
                tracked=_part(self.tracked, count, index),
                following=replace(
                    follow,
                    streams=_part(follow.streams, count, index),
                    polls_per_second=follow.polls_per_second / count,
                ),
                memory=_part(self.memory, count, index),
                budget=Budget(),
            )
            for index in range(count)
        ]

    @property
    def longest_quiet(self) -> float:
        """Seconds in which something has to move, beside waits for what may settle: then every deadline is past."""
        return 2 * (self.limits.connect + self.limits.answer + self.limits.stall + self.backoff.patience)


def _part(whole: int, count: int, index: int) -> int:
    """One of so many parts of a whole, at least one."""
    return max(1, whole // count + (index < whole % count))
