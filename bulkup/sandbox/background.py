"""What must end with the sandbox: workers that go on after an answer was sent, and requests not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager


class Background:
    """Tasks that live until they are done or the sandbox stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: set[asyncio.Task[object]] = set()
        self._errors: list[BaseException] = []

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` beside the requests."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Let the current task, which answers a request, end with the sandbox too."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 # aiohttp runs each request in a task
        self._requests.add(task)
        try:
            yield
        finally:
            self._requests.discard(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def stop(self) -> None:
        """Cancel what still runs, and wait for its end.

        Raises:
            RuntimeError: a task had failed, which is a defect of the sandbox.
        """
        tasks = [*self._tasks, *self._requests]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._errors:
            raise RuntimeError("the sandbox's own background work failed") from self._errors[0]
