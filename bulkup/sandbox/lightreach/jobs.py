"""Upload jobs: which files they wait for, what they last said, who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import orjson

from bulkup.sandbox.faults import Rule
from bulkup.sandbox.lightreach.documents import Document, Documents
from bulkup.sandbox.lightreach.init import Init, WantedFile

_TERMINAL: Final = frozenset({"imageVariantsReady", "failed"})


@dataclass(slots=True)
class JobFile:
    """A file that a job waits for, and where its bytes land."""

    wanted: WantedFile
    key: str
    landed: bool = False
    wrong_hash: bool = False


@dataclass(slots=True)
class Job:
    """An upload job.

    ``event`` is the type of the latest event, ``error`` the message of a failed job, ``fate`` the fault that awaits it,
    ``working`` is true from when all its bytes have landed, ``polls`` are the Unix times at which it was polled.
    """

    id: str
    account: str
    init: Init
    files: list[JobFile]
    event: str
    error: str | None = None
    documents: list[Document] = field(default_factory=list)
    fate: Rule | None = None
    working: bool = False
    polls: list[float] = field(default_factory=list)
    _listeners: set[asyncio.Queue[bytes | None]] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        """Whether all its bytes have landed."""
        return all(file.landed for file in self.files)

    @property
    def subject(self) -> str:
        """The text in which a fault rule's ``match`` is looked for."""
        return "\n".join([self.account, *(file.wanted.name for file in self.files)])

    def render(self, documents: Documents) -> bytes:
        """The latest event in JSON."""
        event: dict[str, object] = {"type": self.event}
        if self.documents:
            event["documents"] = [documents.render(document) for document in self.documents]
        if self.error is not None:
            event["error"] = self.error
        return orjson.dumps(event)

    def emit(self, event: str, documents: Documents) -> None:
        """Say something to all who listen; it is the latest event from now on."""
        self.event = event
        if self._listeners:
            self._tell(self.render(documents))

    @contextmanager
    def listen(self, documents: Documents) -> Iterator[asyncio.Queue[bytes | None]]:
        """The latest event and all later ones; None after a terminal one."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            self._put(queue, self.render(documents))
            yield queue
        finally:
            self._listeners.discard(queue)

    def _tell(self, data: bytes) -> None:
        for queue in self._listeners:
            self._put(queue, data)

    def _put(self, queue: asyncio.Queue[bytes | None], data: bytes) -> None:
        queue.put_nowait(data)
        if self.event in _TERMINAL:
            queue.put_nowait(None)
