"""Documents in buckets and on web servers, as `bulkup.content` has those on disk. Nothing of them touches the disk.

A small object is read whole before the init, by the one question that looks at it. Of a large one that gives the first
bytes, which are kept; the others are read while they are sent, hashed in a thread on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from bulkup.buckets import Buckets, Reading, Version
from bulkup.content import SMALL, begins
from bulkup.errors import StepError
from bulkup.model import Content, Failure
from bulkup.tasks import gather_some, in_thread
from bulkup.transport import Pourable

_AT_ONCE = 8
"""Objects of a batch that are asked for at a time."""


@dataclass(slots=True)
class RemoteSource:
    """A `bulkup.readable.Readable` of an object.

    Attributes:
        head: the first bytes of a large one.
    """

    url: str
    content: Content
    version: Version
    digests: frozenset[str]
    buckets: Buckets = field(repr=False)
    data: bytes | None = field(default=None, repr=False)
    head: bytes = field(default=b"", repr=False)
    _reading: Reading | None = field(default=None, repr=False)
    pours = False

    async def chunks(self, executor: Executor) -> AsyncIterator[bytes]:
        """See `Readable.chunks`."""
        if self.data is not None:
            yield self.data
            return
        hashes = [hashlib.new(name, usedforsecurity=False) for name in sorted(self.digests)]
        reading = self._reading = Reading(self.buckets, self.url, self.version, len(self.head))
        chunk = self.head

        def hash_chunk() -> None:
            for each in hashes:
                each.update(chunk)

        try:
            while True:
                await in_thread(executor, hash_chunk)
                if not reading.left:
                    break
                yield chunk
                chunk = await reading.next()
            # known before the last chunk goes out, since its answer may come before this generator is asked again
            self.content = self._hashed({each.name: each.hexdigest() for each in hashes})
            yield chunk
        finally:
            reading.close()

    def _hashed(self, digests: Mapping[str, str]) -> Content:
        return self.content._replace(md5=digests.get("md5"), sha256=digests.get("sha256"))

    def hash_data(self) -> None:
        """Hash a small one."""
        data = self.data or b""
        hashes = {name: hashlib.new(name, data, usedforsecurity=False) for name in self.digests}
        self.content = self._hashed({name: each.hexdigest() for name, each in hashes.items()})

    def poured(self, executor: Executor) -> Pourable:
        """There is no file that a thread could pour."""
        raise NotImplementedError

    def close(self, executor: Executor) -> None:  # noqa: ARG002 - a protocol's
        """See `Readable.close`."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None


async def inspect_remote(
    urls: Sequence[str],
    digests: frozenset[str],
    buckets: Buckets,
    executor: Executor,
    *,
    allow_empty: bool,
    magic: bytes = b"",
) -> list[RemoteSource | Failure]:
    """As `bulkup.content.inspect`, of objects; several are asked for at a time, and one thread hop hashes them all.

    Args:
        urls: good ones.
        digests, allow_empty, magic: as there.
        buckets: reads them.
        executor: makes clients, and hashes.
    """
    if not all(map(buckets.prepared, urls)):
        await in_thread(executor, _prepare, buckets, urls)
    look = [partial(_look, url, digests, buckets, allow_empty=allow_empty, magic=magic) for url in urls]
    found = await gather_some(look, _AT_ONCE)
    small = [each for each in found if isinstance(each, RemoteSource) and each.data is not None]
    if small and digests:
        await in_thread(executor, _hash, small)
    return found


def _prepare(buckets: Buckets, urls: Sequence[str]) -> None:
    for url in urls:
        try:
            buckets.prepare([url])
        except StepError:  # which comes again when the object is asked for
            continue


async def _look(
    url: str, digests: frozenset[str], buckets: Buckets, *, allow_empty: bool, magic: bytes
) -> RemoteSource | Failure:
    try:
        version, data = await buckets.beginning(url, SMALL)
        begins(url, data, magic)
    except StepError as error:
        return error.failure
    if version.size == 0 and not allow_empty:
        return Failure("file_empty", f"{url!r} is empty (--allow-empty sends it)")
    content = Content(version.size, version.mtime_ns)
    source = RemoteSource(url, content, version, digests, buckets)
    if version.size > SMALL:
        source.head = data
    else:
        source.data = data
    return source


def _hash(sources: Sequence[RemoteSource]) -> None:
    for source in sources:
        source.hash_data()
