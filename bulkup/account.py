"""What a run tells its subscribers, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bulkup.clock import Clock
from bulkup.errors import DefectError
from bulkup.events import DocumentEnded, Event, Notice, RunStarted, Subscriber, Summary, Tally
from bulkup.feed import LedgerReader
from bulkup.model import SKIPPED, State
from bulkup.private import Masks
from bulkup.providers import PROVIDERS
from bulkup.terms import Terms


class Account:
    """Tells of one run, whoever carries it out.

    Args:
        run_id: as it was admitted.
        rows: how many rows the manifest's reader counted.
        terms: what the user set.
        clock: time.
        subscribers: are told of every event.
        once: each row is told of only once, where several sources tell of it.

    Attributes:
        limited: a limit that the user set was reached.
        requests: sent by others than whoever asks whether a limit is reached.
    """

    def __init__(
        self,
        run_id: str,
        rows: int,
        *,
        terms: Terms,
        clock: Clock,
        subscribers: Sequence[Subscriber],
        once: bool = False,
    ) -> None:
        self.run_id = run_id
        self.rows = rows
        self.limited = False
        self.requests = 0
        self._terms = terms
        self._clock = clock
        self._tally = Tally()
        self._masked: Callable[[Event], Event] = lambda event: event
        self._subscribers = tuple(subscribers)
        self._began = clock.monotonic()
        self._once = once
        self._told = bytearray()  # by a row's number

    def emit(self, event: Event) -> None:
        """Tell of something."""
        if self._once and isinstance(event, DocumentEnded):
            if self.knows(event.row):
                return
            self._told.extend(bytes(max(0, event.row + 1 - len(self._told))))
            self._told[event.row] = True
        self._tally(event)
        told = self._masked(event)
        for subscriber in self._subscribers:
            subscriber(told)

    def knows(self, row: int) -> bool:
        """Whether it was told of a row, where that is done only once."""
        return row < len(self._told) and bool(self._told[row])

    async def start(self, ledger: LedgerReader, hosts: Mapping[str, str]) -> None:
        """Tell that sending begins, and of the rows that can't be sent at all.

        Args:
            hosts: where to: for each provider its base URL.
        """
        self.emit(RunStarted(self.run_id, self.rows, ledger.name, hosts, self._terms.shard_name))
        if self._terms.private_names:
            self._masked = Masks(await ledger.secret(), PROVIDERS)
        for row in await ledger.invalid(self.run_id):
            self.emit(row)

    def spent(self, requests: int) -> str | None:
        """Which of the user's limits is reached, in words; only the first time.

        Args:
            requests: sent by whoever asks.
        """
        if self.limited:
            return None
        spent = self._terms.budget.spent(
            failed=self._tally.failures,
            rows=self.rows,
            seconds=self._clock.monotonic() - self._began,
            requests=self.requests + requests,
        )
        if spent is not None:
            self.limited = True
            self.emit(Notice(f"stopped, no more rows are taken: {spent}"))
        return spent

    def wind_down(self) -> None:
        """Tell that what is in flight is finished."""
        self.emit(Notice(f"stopping: finishing what is in flight, {self._terms.drain:g} s at most"))

    async def finish(self, ledger: LedgerReader, *, interrupted: bool) -> Summary:
        """Count twice, what the ledger holds has to be what the manifest's reader counted; and tell it."""
        states = await ledger.states(self.run_id)
        summary = Summary(
            run_id=self.run_id,
            rows=self.rows,
            completed=states.get(State.COMPLETED, 0),
            failed=states.get(State.FAILED, 0),
            skipped=states.get(SKIPPED, 0),
            unknown=states.get(State.UNKNOWN, 0),
            pending=sum(states.get(state, 0) for state in (State.PENDING, State.INITIATED, State.STORED)),
            bytes=self._tally.bytes,
            seconds=round(self._clock.monotonic() - self._began, 3),
            interrupted=interrupted,
            limited=self.limited,
            shard=self._terms.shard_name,
        )
        await ledger.finish(self.run_id, self._clock.stamp(), summary.facts())
        if not summary.adds_up:
            raise DefectError(f"the count does not add up, please report this: {summary}")
        self.emit(summary)
        return summary
