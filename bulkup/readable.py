"""What can be sent: a document's bytes, wherever they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Protocol

from bulkup.model import Content
from bulkup.transport import Pourable


class Readable(Protocol):
    """A document that was looked at and can be sent."""

    @property
    def content(self) -> Content:
        """What it holds; the digests of a large one are there only after it was read to its end."""

    @property
    def data(self) -> bytes | None:
        """The bytes of a small one, which was read when it was looked at."""

    @property
    def pours(self) -> bool:
        """Whether `poured` gives anything."""

    def chunks(self, executor: Executor) -> AsyncIterator[bytes]:
        """The bytes from the first one on, each time it is asked.

        Raises:
            StepError: ``file_changed`` (to be read anew), before its last chunk was given out; or it can't be read.
        """

    def poured(self, executor: Executor) -> Pourable:
        """The bytes of a large one for a socket; raises as `chunks`."""

    def close(self, executor: Executor) -> None:
        """Give up what is being read: whoever stops in the middle of the chunks does not end their generator."""
