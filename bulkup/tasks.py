"""Structured concurrency: the one place that starts tasks and threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")


def task_group() -> TaskGroup:
    """A group of tasks that end together: an error in one cancels the others and is raised where the group ends."""
    return anyio.create_task_group()


@asynccontextmanager
async def plain_group() -> AsyncIterator[Callable[[Callable[[T], Coroutine[Any, Any, None]], T], object]]:
    """As `task_group`, of asyncio's own tasks, which cost a fraction; gives what starts a call with its argument."""
    async with asyncio.TaskGroup() as group:
        yield lambda call, argument: group.create_task(call(argument))


async def gather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run calls side by side; their results in order.

    One alone costs no task; the others those of asyncio, since anyio's cost several times as much.
    """
    if len(calls) == 1:
        return [await calls[0]()]

    async def carried_out(call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(carried_out(call)) for call in calls]
    return [task.result() for task in tasks]


async def gather_some(calls: Sequence[Callable[[], Awaitable[T]]], limit: int) -> list[T]:
    """As `gather`, not more than so many at a time."""
    found: dict[int, T] = {}
    waiting = iter(enumerate(calls))

    async def carry_out() -> None:
        for index, call in waiting:
            found[index] = await call()

    await gather([carry_out] * min(limit, len(calls)))
    return [found[index] for index in range(len(calls))]


def begin(call: Callable[[], Awaitable[T]], done: Callable[[T | BaseException], None]) -> Callable[[], object]:
    """Begin a call; its end is told by another call.

    Returns:
        What cancels it; afterwards ``done`` is not called any more. Whoever began it has to see to its end.
    """

    async def carried_out() -> T:
        return await call()

    def ended(task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            done(task.exception() or task.result())

    task = asyncio.get_running_loop().create_task(carried_out())
    task.add_done_callback(ended)
    return task.cancel


def in_thread(executor: Executor, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    """Start a blocking call in one of the executor's threads."""
    return asyncio.get_running_loop().run_in_executor(executor, function, *arguments)


@contextmanager
def threads(count: int, name: str) -> Iterator[Executor]:
    """Threads that are not waited for at the end: whatever mattered was awaited, and waiting blocks the loop."""
    executor = ThreadPoolExecutor(count, name)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False)
