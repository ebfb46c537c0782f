"""Documents on disk. Everything here blocks, so the engine calls it in a thread.

A small file is read and hashed whole before the init, so that a URL's short life is spent on the wire. A large one is
measured, and read in chunks while it is sent, hashed on the way. In both cases its identity (size, modification time
in ns, inode) is compared before and after: a file that changes meanwhile is never sent as a mixture.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from io import BufferedReader
from threading import Lock, local
from typing import Protocol

from bulkup.errors import StepError
from bulkup.model import Again, Content, Failure
from bulkup.opening import Explained, Identity, below, changed, compare, identity, open_descriptor, opened, regular
from bulkup.tasks import in_thread

SMALL = 128 * 1024
"""Up to so many bytes a file is read before the init."""

CHUNK = 1024 * 1024

PIECE = 256 * 1024
"""Bytes that a thread reads, hashes and sends before the next ones: they stay in the processor's cache meanwhile."""

_STRETCH = 4 * 1024 * 1024
"""Bytes of one file after which a thread turns to the next one's, so that none stalls behind a very large one."""

_LAST = 16 * 1024
"""Bytes that are left to the event loop to send."""


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class Source:
    """A document that was looked at and can be sent.

    Attributes:
        content: what it holds; the digests of a large file are there only after it was read to its end.
        data: the bytes of a small file.
    """

    path: str
    content: Content
    identity: Identity
    digests: frozenset[str]
    data: bytes | None = field(default=None, repr=False)
    root: str | None = None
    _reader: _Reader | None = field(default=None, repr=False)
    pours = True

    async def chunks(self, executor: Executor) -> AsyncIterator[bytes]:
        """The bytes, the next chunk being read while one is sent.

        Raises:
            StepError: ``file_changed`` (to be read anew), before its last chunk was given out; or as in `inspect`.
        """
        if self.data is not None:
            yield self.data
            return
        reader = self._reader = _Reader(self.path, self.identity, self.digests, self.root)
        try:
            coming = await in_thread(executor, reader.read)
            while reader.left:
                ahead = in_thread(executor, reader.read)
                ahead.add_done_callback(_retrieve)
                yield coming
                coming = await ahead
            # known before the last chunk goes out, since its answer may come before this generator is asked again
            self.content = reader.content()
            yield coming
        finally:
            _close(reader, executor)

    def poured(self, executor: Executor) -> Pouring:
        """The bytes of a large file for a socket; raises as `chunks`."""
        self._reader = _Reader(self.path, self.identity, self.digests, self.root)
        return Pouring(self, self._reader, executor)

    def close(self, executor: Executor) -> None:
        """Close the file: whoever gave up in the middle of the chunks does not end their generator."""
        reader, self._reader = self._reader, None
        if reader is not None:
            _close(reader, executor)


@dataclass(frozen=True, slots=True)
class Pouring:
    """A large file's bytes for a socket: each piece is read, hashed and sent by one thread.

    It is a `bulkup.transport.Pourable`; `Source.close` closes the socket, too, if it was given up.
    """

    source: Source
    reader: _Reader
    executor: Executor

    async def pour(self, socket: int) -> bytes | None:
        """See `bulkup.transport.Pourable.pour`."""
        self.reader.socket = socket
        last = await in_thread(self.executor, self.reader.pour, socket)
        if last is not None:
            self.source.content = self.reader.content()
        return last


def _close(reader: _Reader, executor: Executor) -> None:
    if not reader.give_up():
        return
    try:
        executor.submit(reader.close)  # waits for a read that is under way, in its thread
    except RuntimeError:  # the run is over, and its threads with it
        reader.close()


def _retrieve(read: asyncio.Future[bytes]) -> None:
    """An attempt that was given up takes no interest in what its last read found."""
    if not read.cancelled():
        read.exception()


def inspect(
    paths: Sequence[str], digests: frozenset[str], *, allow_empty: bool, magic: bytes = b"", root: str | None = None
) -> list[Source | Failure]:
    """Look at files, and read the small ones; one thread hop serves a whole batch.

    Args:
        paths: absolute paths.
        digests: which hashes are needed, of ``md5`` and ``sha256``.
        allow_empty: an empty file is sent.
        magic: see `Traits.magic`.
        root: a folder in which all files have to lie: an absolute path without links.

    Returns:
        For each path its `Source`, or why it can't be sent: ``file_missing``, ``file_unreadable``, ``not_a_file``,
        ``file_empty``, ``file_changed``, ``outside_root``, ``wrong_type``.
    """
    return [_inspect(path, digests, allow_empty=allow_empty, magic=magic, root=root) for path in paths]


def _inspect(
    path: str, digests: frozenset[str], *, allow_empty: bool, magic: bytes, root: str | None
) -> Source | Failure:
    try:
        source = _look(path, digests, magic, root)
    except StepError as error:
        if error.failure.again is not Again.FRESH:
            return error.failure
        try:  # it changed while it was read: once more
            source = _look(path, digests, magic, root)
        except StepError as again:
            return replace(again.failure, again=Again.NEVER)
    if source.content.size == 0 and not allow_empty:
        return Failure("file_empty", f"{path!r} is empty (--allow-empty sends it)")
    return source


_HEAD = 1024


def begins(path: str, head: bytes, magic: bytes) -> None:
    """See that a file is what its name says; raises `StepError`."""
    if head and magic not in head[:_HEAD]:
        text = f"{path!r} is not of the type that the vendor takes: it does not begin with {magic.decode()}"
        raise StepError(Failure("wrong_type", text))


def _look(path: str, digests: frozenset[str], magic: bytes, root: str | None) -> Source:
    with Explained(path):
        if root is not None:
            below(root, path)  # before anything is said of a file that is none of the user's business
        measured = os.stat(path)  # noqa: PTH116 - a plain string stays one: Path would normalise it
        regular(path, measured)  # not even opened, since opening a device may do something
        if measured.st_size > SMALL:
            with opened(path, root)[0] as file:
                begins(path, file.read(_HEAD), magic)
            content = Content(measured.st_size, measured.st_mtime_ns)
            return Source(path, content, identity(measured), digests, root=root)
        expected = identity(measured)
        descriptor = open_descriptor(path, root)
        try:
            data = _read(descriptor, measured.st_size)
            # of the open file, after the reading: it is the one that was looked at, and nobody wrote to it meanwhile
            compare(path, os.fstat(descriptor), expected)
        finally:
            os.close(descriptor)
        if len(data) != measured.st_size:
            raise changed(path)
    begins(path, data, magic)
    hashes = {name: _HASHES[name](data, usedforsecurity=False).hexdigest() for name in digests}
    content = Content(measured.st_size, measured.st_mtime_ns, **hashes)
    return Source(path, content, expected, digests, data, root=root)


def _read(descriptor: int, size: int) -> bytes:
    """So many bytes, or fewer if there are no more; and one more if there are."""
    data = os.read(descriptor, size + 1)
    while 0 < len(data) < size and (more := os.read(descriptor, size + 1 - len(data))):
        data += more
    return data


_HASHES: Mapping[str, Callable[..., _Hash]] = {"md5": hashlib.md5, "sha256": hashlib.sha256}


class _Reader:
    """Reads a file, hashing; the last bytes are held back until the file proved unchanged.

    Attributes:
        left: bytes that were not read yet.
        socket: where it is poured, to be closed with the file.
    """

    def __init__(self, path: str, expected: Identity, digests: frozenset[str], root: str | None) -> None:
        self._path = path
        self._root = root
        self._expected = expected
        self._hashes: dict[str, _Hash] = {name: _HASHES[name](usedforsecurity=False) for name in digests}
        self.left = expected[0]
        self._busy = Lock()
        self._given_up = False
        self._file: BufferedReader | None = None
        self.socket: int | None = None
        self._unsent = self._last = b""

    def read(self) -> bytes:
        """The next chunk, empty at the end or if it was closed; raises `StepError` if the file is not as expected."""
        with self._busy, Explained(self._path):
            if self._given_up:
                return b""
            chunk = self._open().read(min(CHUNK, self.left))
            self._took(chunk)
            return chunk

    def pour(self, socket: int) -> bytes | None:
        """See `Pouring`; nothing more goes out once it was given up."""
        with self._busy:
            stretch = 0
            while not self._given_up:
                self._unsent = _put(socket, self._unsent)
                if self._unsent:
                    break
                if not self.left:
                    self._close()
                    return self._last
                if stretch >= _STRETCH:
                    break
                stretch += self._pour_piece(socket)
        return None

    def _pour_piece(self, socket: int) -> int:
        """Send the next bytes, and keep what the socket does not take; returns how many they were."""
        with Explained(self._path):
            buffer = _BUFFERS.view[: self.left]
            count = self._open().readinto(buffer)
            piece = buffer[:count]
            self._took(piece)
        if not self.left:
            self._last = bytes(piece[-_LAST:])
            piece = piece[:-_LAST]
        self._unsent = _put(socket, piece)
        return count

    def _open(self) -> BufferedReader:
        if self._file is None:
            self._file, measured = opened(self._path, self._root)
            compare(self._path, measured, self._expected)
        return self._file

    def _took(self, data: bytes | memoryview) -> None:
        """Hash what was read; raises `StepError` if the file is not as expected."""
        self.left -= len(data)
        if not data and self.left:
            raise changed(self._path)
        for hash_ in self._hashes.values():
            hash_.update(data)
        if self.left == 0:  # the path's own identity has the inode in it, so it speaks for the open file too
            compare(self._path, os.stat(self._path), self._expected)  # noqa: PTH116 - as in `_look`

    def content(self) -> Content:
        """What was read, once all of it was."""
        digests = {name: hash_.hexdigest() for name, hash_ in self._hashes.items()}
        return Content(self._expected[0], self._expected[1], **digests)

    def give_up(self) -> bool:
        """Stop soon, whatever is under way; says whether it is to be closed then."""
        self._given_up = True
        return self._file is not None or self.socket is not None or self._busy.locked()

    def close(self) -> None:
        """Close it, once no thread is at it."""
        with self._busy:
            self._given_up = True
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self.socket is not None:
            os.close(self.socket)
            self.socket = None


class _Buffers(local):
    """Each thread's own buffer: a new one for each piece costs as much as reading it."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(PIECE))


_BUFFERS = _Buffers()


def _put(socket: int, data: memoryview | bytes) -> bytes:
    """Write what a socket takes without waiting; returns what it does not. Raises OSError."""
    try:
        while data:
            data = data[os.write(socket, data) :]
    except BlockingIOError:
        pass
    return bytes(data)


def fingerprints(paths: Iterable[str]) -> list[tuple[int, int] | None]:
    """Size in bytes and modification time in ns of each file, None where there is no such file."""
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            measured = os.stat(path)  # noqa: PTH116 - as above
        except (OSError, ValueError):
            found.append(None)
        else:
            found.append((measured.st_size, measured.st_mtime_ns))
    return found


def digest(path: str, name: str, stopped: Callable[[], bool], root: str | None = None) -> str | None:
    """A file's hash in hexadecimal, or None if it can't be read, or ``stopped`` became true meanwhile."""
    hash_ = hashlib.new(name, usedforsecurity=False)
    try:
        with opened(path, root)[0] as file:
            while not stopped() and (chunk := file.read(CHUNK)):
                hash_.update(chunk)
            if stopped():
                return None
    except (OSError, ValueError, StepError):
        return None
    return hash_.hexdigest()
