"""Workers as tasks of a Dask cluster.

A task that the cluster lost may go on where it runs, out of sight. So only the ledger says that a worker ended: it said
so itself, or its lease is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import anyio

from bulkup import content
from bulkup.clock import Clock
from bulkup.errors import ConfigError
from bulkup.tasks import in_thread, threads
from bulkup.worker import Assignment, work

if TYPE_CHECKING:
    from distributed import Client, Future

_CONNECTS_WITHIN = 5.0
_LOOKS_EVERY = 0.5
_REGISTERS_WITHIN = 120.0
"""Seconds in which a task has to begin; the cluster may have lost its workers."""
_OVER = frozenset({"cancelled", "lost", "error"})


class Cluster:
    """A `bulkup.fleet.Crew` on Dask; opened by `joined`.

    Args:
        scheduler: its address.
        client: connected.
        executor: a thread for what waits for the scheduler.
        clock: time.
        patience: seconds in which a scheduler may be started again.
    """

    def __init__(self, scheduler: str, client: Client, executor: Executor, clock: Clock, patience: float) -> None:
        self._scheduler = scheduler
        self._client = client
        self._executor = executor
        self._clock = clock
        self._patience = patience
        self._tasks: dict[str, Future[None] | None] = {}
        self._started: dict[str, float] = {}

    @property
    def workers(self) -> int:
        """How many the cluster has now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    async def reach(self, paths: Sequence[str]) -> None:
        """See that all of the cluster's workers have this bulkup, and can read some documents; waits for the first.

        Args:
            paths: of this machine's files.

        Raises:
            ConfigError: one of them does not.
        """
        ends = self._clock.monotonic() + self._patience
        while self.workers == 0 and self._clock.monotonic() < ends:
            await self._clock.sleep(_LOOKS_EVERY)
        if self.workers == 0:
            raise ConfigError(f"--scheduler {self._scheduler}: the cluster has no workers")
        mine = version("bulkup")
        sizes = content.fingerprints(paths)
        found: Mapping[str, Any] = await self._answer(_sees, list(paths))
        for worker, (theirs, seen) in found.items():
            if theirs != mine:
                raise ConfigError(f"{worker}: has bulkup {theirs}, and this is {mine}: they must be the same")
            for path, here, there in zip(paths, sizes, seen, strict=True):
                if here is not None and here != there:
                    raise ConfigError(
                        f"{worker}: can't read {path!r} as this machine does: put documents where all of them reach "
                        "them, in a folder that they share or at s3://, gs://, az:// or https:// URLs"
                    )

    async def _answer(self, question: Any, *arguments: object) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = await in_thread(self._executor, self._client.run, question, *arguments)
        except ModuleNotFoundError as error:
            raise ConfigError(f"a worker of the cluster lacks {error.name!r}: install bulkup there, too") from None
        return found

    async def start(self, assignment: Assignment) -> str:
        """See `Crew.start`."""
        name = f"dask-{token_hex(8)}"
        self._started[name] = self._clock.monotonic()
        self._tasks[name] = None
        if await self._connected():
            task = replace(assignment, name=name)
            self._tasks[name] = self._client.submit(_work, task, key=name, pure=False)
        return name

    async def _connected(self) -> bool:
        """Whether the scheduler is there; waits for one that is started again."""
        ends = self._clock.monotonic() + self._patience
        while self._client.status != "running":
            if self._client.status == "closed":
                with suppress(OSError, TimeoutError):
                    self._client = await in_thread(self._executor, _client, self._scheduler)
                    continue
            if self._clock.monotonic() > ends:
                return False
            await self._clock.sleep(_LOOKS_EVERY)
        return True

    def kill(self, names: Collection[str]) -> None:
        """See `Crew.kill`: those of other machines are left to themselves."""

    def gone(self, registered: Collection[str]) -> frozenset[str]:
        """See `Crew.gone`."""
        late = self._clock.monotonic() - _REGISTERS_WITHIN
        gone = set()
        for name, task in list(self._tasks.items()):
            over = task is None or task.status in _OVER or self._started[name] < late
            if name not in registered and over:
                gone.add(name)
                self._forget(name)
            elif task is not None and task.status == "finished":
                self._forget(name)
        return frozenset(gone)

    def alive(self) -> frozenset[str]:
        """See `Crew.alive`."""
        return frozenset(self._tasks)

    def close(self) -> frozenset[str]:
        """See `Crew.close`; who is at work goes on until its lease is over."""
        for name in self.alive():
            self._forget(name)
        return frozenset()

    def _forget(self, name: str) -> None:
        task = self._tasks.pop(name)
        if task is not None and self._client.status == "running":
            task.cancel(force=True)  # type: ignore[no-untyped-call]  # Dask has few types


@asynccontextmanager
async def joined(scheduler: str, clock: Clock, patience: float) -> AsyncIterator[Cluster]:
    """A cluster, by the address of its scheduler.

    Raises:
        ConfigError: there is none, or Dask is not installed.
    """
    if find_spec("distributed") is None:
        raise ConfigError("--engine dask needs the extra 'dask': pip install 'bulkup[dask]'")
    with threads(1, "dask") as executor:
        try:
            client = await in_thread(executor, _client, scheduler)
        except (OSError, TimeoutError, ValueError):
            raise ConfigError(f"--scheduler {scheduler}: no scheduler of Dask answers there") from None
        cluster = Cluster(scheduler, client, executor, clock, patience)
        try:
            yield cluster
        finally:
            with anyio.CancelScope(shield=True):
                await in_thread(executor, cluster._client.close)  # noqa: SLF001 - its own


def _client(scheduler: str) -> Client:
    from distributed import Client  # noqa: PLC0415 - an extra

    return Client(scheduler, timeout=_CONNECTS_WITHIN, set_as_default=False)  # type: ignore[no-untyped-call]  # as above


def _work(assignment: Assignment) -> None:
    """A worker's life, in a thread of Dask's."""
    anyio.run(work, assignment, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def _sees(paths: list[str]) -> tuple[str, list[tuple[int, int] | None]]:
    """What a worker of Dask has: the version of bulkup, and size and time of some files."""
    return version("bulkup"), content.fingerprints(paths)
