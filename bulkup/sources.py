"""Where documents come from: this machine's disk, buckets and web servers, each path read as what it is."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from bulkup import content
from bulkup.buckets import Buckets
from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.readable import Readable
from bulkup.remote_source import inspect_remote
from bulkup.tasks import gather, gather_some, in_thread
from bulkup.urls import is_url

log = logging.getLogger("bulkup.sources")

_HEADS = 64
"""Objects that are looked at at a time."""

_BODIES = 8
"""Objects that are hashed at a time."""

Fingerprint = tuple[int, int]
"""Size in bytes and modification time in ns."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Looks at documents and reads them.

    Attributes:
        buckets: reads what is not on this machine.
        root: nothing outside of this folder is read; an absolute path without links.
    """

    buckets: Buckets
    root: str | None = None

    async def inspect(
        self,
        paths: Sequence[str],
        digests: frozenset[str],
        executor: Executor,
        *,
        allow_empty: bool,
        magic: bytes = b"",
    ) -> list[Readable | Failure]:
        """Look at documents, and read the small ones; see `bulkup.content.inspect`."""
        elsewhere = [is_url(path) for path in paths]
        local = [path for path, far in zip(paths, elsewhere, strict=True) if not far]
        remote = [path for path, far in zip(paths, elsewhere, strict=True) if far]
        look = partial(content.inspect, local, digests, allow_empty=allow_empty, magic=magic, root=self.root)

        async def near() -> Sequence[Readable | Failure]:
            return await in_thread(executor, look) if local else []

        async def far() -> Sequence[Readable | Failure]:
            if self.root is not None:
                text = "is not on this machine, and only files below --root"
                return [Failure("outside_root", f"{url!r} {text} {self.root!r} are sent") for url in remote]
            return await inspect_remote(remote, digests, self.buckets, executor, allow_empty=allow_empty, magic=magic)

        if not remote:
            return list(await near())
        here, there = map(iter, await gather([near, far]))
        return [next(there if away else here) for away in elsewhere]

    # --- what blocks: for a thread without an event loop ----------------------------------------------------------

    def fingerprints(self, paths: Sequence[str], stopped: Callable[[], bool]) -> list[Fingerprint | None]:
        """Size and modification time of each document, None where there is none, or where it can't be told.

        Args:
            paths: absolute paths and URLs; objects are asked for side by side.
            stopped: asked after each object; once true, the answer is of no use.
        """
        urls = [path for path in paths if is_url(path)]
        if not urls:
            return content.fingerprints(paths)
        local = [path for path in paths if not is_url(path)]
        found = dict(zip(local, content.fingerprints(local), strict=True))
        if self.root is None:
            found |= asyncio.run(self._measured(urls, stopped))
        return [found.get(path) for path in paths]

    def digests(self, wanted: Sequence[tuple[str, str]], stopped: Callable[[], bool]) -> list[str | None]:
        """The hash of each document in hexadecimal, None if it can't be read, or ``stopped`` became true meanwhile.

        Args:
            wanted: of each its absolute path or URL, and the name of the hash; objects are read side by side.
        """
        found = {each: content.digest(*each, stopped, self.root) for each in wanted if not is_url(each[0])}
        remote = [each for each in wanted if is_url(each[0])]
        if remote and self.root is None:
            found |= asyncio.run(self._hashed(remote, stopped))
        return [found.get(each) for each in wanted]

    async def _measured(self, urls: Sequence[str], stopped: Callable[[], bool]) -> dict[str, Fingerprint | None]:
        unseen: Counter[str] = Counter()

        async def measure(url: str) -> Fingerprint | None:
            if stopped():
                return None
            try:
                version = await self.buckets.measure(url)
            except StepError as error:
                if error.failure.code != "file_missing":
                    unseen[error.failure.code] += 1
                return None
            return version.size, version.mtime_ns

        found = await gather_some([partial(measure, url) for url in urls], _HEADS)
        for code, count in unseen.items():
            log.warning("%d objects can't be looked at (%s): what was sent before counts as unchanged", count, code)
        return dict(zip(urls, found, strict=True))

    async def _hashed(
        self, wanted: Sequence[tuple[str, str]], stopped: Callable[[], bool]
    ) -> dict[tuple[str, str], str | None]:
        async def digest(url: str, name: str) -> str | None:
            hash_ = hashlib.new(name, usedforsecurity=False)
            try:
                async with aclosing(self.buckets.whole(url)) as chunks:
                    async for chunk in chunks:
                        if stopped():
                            return None
                        hash_.update(chunk)
            except StepError:
                return None
            return hash_.hexdigest()

        found = await gather_some([partial(digest, url, name) for url, name in wanted], _BODIES)
        return dict(zip(wanted, found, strict=True))
