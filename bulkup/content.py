"""Documents on disk: the one place that opens them. Everything here blocks, so the engine calls it in a thread.

A small file is read and hashed whole before the init, so that a URL's short life is spent on the wire. A large one is
measured, and read in chunks while it is sent, hashed on the way. In both cases its identity (size, modification time
in ns, inode) is compared before and after: a file that changes meanwhile is never sent as a mixture.

Where a root is given, all files have to lie below it, wherever links lead. That is held to by how they are opened, not
by a look beforehand, since a link can be replaced in between.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BufferedReader
from threading import Lock
from typing import Protocol

from bulkup.errors import StepError
from bulkup.model import Again, Content, Failure
from bulkup.tasks import in_thread

SMALL = 128 * 1024
"""Up to so many bytes a file is read before the init."""

CHUNK = 1024 * 1024

Identity = tuple[int, int, int]


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
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

    def close(self, executor: Executor) -> None:
        """Close the file: whoever gave up in the middle of the chunks does not end their generator."""
        reader, self._reader = self._reader, None
        if reader is not None:
            _close(reader, executor)


def _close(reader: _Reader, executor: Executor) -> None:
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


def _begins(path: str, head: bytes, magic: bytes) -> None:
    """See that a file is what its name says; raises `StepError`."""
    if head and magic not in head[:_HEAD]:
        text = f"{path!r} is not of the type that the vendor takes: it does not begin with {magic.decode()}"
        raise StepError(Failure("wrong_type", text))


def _look(path: str, digests: frozenset[str], magic: bytes, root: str | None) -> Source:
    with _explained(path):
        if root is not None:
            _below(root, path)  # before anything is said of a file that is none of the user's business
        measured = os.stat(path)  # noqa: PTH116 - a plain string stays one: Path would normalise it
        _regular(path, measured)  # not even opened, since opening a device may do something
        if measured.st_size > SMALL:
            with _opened(path, root)[0] as file:
                _begins(path, file.read(_HEAD), magic)
            content = Content(measured.st_size, measured.st_mtime_ns)
            return Source(path, content, _identity(measured), digests, root=root)
        expected = _identity(measured)
        descriptor = os.open(path, _READ) if root is None else _open_below(root, path)
        try:
            data = _read(descriptor, measured.st_size)
            # of the open file, after the reading: it is the one that was looked at, and nobody wrote to it meanwhile
            _compare(path, os.fstat(descriptor), expected)
        finally:
            os.close(descriptor)
        if len(data) != measured.st_size:
            raise _changed(path)
    _begins(path, data, magic)
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


def _regular(path: str, measured: os.stat_result) -> None:
    """See that it is a file with bytes in it, and no pipe on which one may wait for ever; raises `StepError`."""
    if not stat.S_ISREG(measured.st_mode):
        what = "a folder" if stat.S_ISDIR(measured.st_mode) else "not a regular file"
        raise StepError(Failure("not_a_file", f"{path!r} is {what}"))


_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _opened(path: str, root: str | None) -> tuple[BufferedReader, os.stat_result]:
    """Open a regular file, without waiting for anybody, and say what it is; raises `StepError` and OSError."""
    descriptor = os.open(path, _READ) if root is None else _open_below(root, path)
    try:
        measured = os.fstat(descriptor)
        _regular(path, measured)
        return open(descriptor, "rb"), measured  # noqa: PTH123 - a descriptor, and whoever asks closes it
    except BaseException:
        os.close(descriptor)
        raise


def _below(root: str, path: str) -> list[str]:
    """The steps from the root to where a path really leads; raises `StepError` if that is not below it."""
    real = os.path.realpath(path)
    start = root.rstrip("/") + "/"
    if not real.startswith(start):
        raise StepError(Failure("outside_root", f"{path!r} leads out of --root {root!r}"))
    return real[len(start) :].split("/")


def _open_below(root: str, path: str) -> int:
    """Open where a path really leads, step by step from the root, following no link on the way."""
    *folders, name = _below(root, path)
    at = os.open(root, _STEP)
    try:
        for folder in folders:
            inner = os.open(folder, _STEP, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, _READ | os.O_NOFOLLOW, dir_fd=at)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:  # a step is another since it was looked at
            raise _changed(path) from None
        raise
    finally:
        os.close(at)


class _Reader:
    """Reads a file chunk by chunk, hashing; the last chunk is held back until the file proved unchanged."""

    def __init__(self, path: str, expected: Identity, digests: frozenset[str], root: str | None) -> None:
        self._path = path
        self._root = root
        self._expected = expected
        self._hashes: dict[str, _Hash] = {name: _HASHES[name](usedforsecurity=False) for name in digests}
        self.left = expected[0]
        self._busy = Lock()
        self._closed = False
        self._file: BufferedReader | None = None

    def read(self) -> bytes:
        """The next chunk, empty at the end or if it was closed; raises `StepError` if the file is not as expected."""
        with self._busy, _explained(self._path):
            if self._closed:
                return b""
            if self._file is None:
                self._file, measured = _opened(self._path, self._root)
                _compare(self._path, measured, self._expected)
            chunk = self._file.read(min(CHUNK, self.left))
            self.left -= len(chunk)
            if not chunk and self.left:
                raise _changed(self._path)
            for hash_ in self._hashes.values():
                hash_.update(chunk)
            if self.left == 0:  # the path's own identity has the inode in it, so it speaks for the open file too
                _compare(self._path, os.stat(self._path), self._expected)  # noqa: PTH116 - as in `_look`
            return chunk

    def content(self) -> Content:
        """What was read, once all of it was."""
        digests = {name: hash_.hexdigest() for name, hash_ in self._hashes.items()}
        return Content(self._expected[0], self._expected[1], **digests)

    def close(self) -> None:
        with self._busy:
            self._closed = True
            if self._file is not None:
                self._file.close()


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(path: str) -> bool:
    """Whether a path of a manifest names something that is not a file of this machine."""
    return _URL.match(path) is not None


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
        with _opened(path, root)[0] as file:
            while not stopped() and (chunk := file.read(CHUNK)):
                hash_.update(chunk)
            if stopped():
                return None
    except (OSError, ValueError, StepError):
        return None
    return hash_.hexdigest()


def _identity(measured: os.stat_result) -> Identity:
    return (measured.st_size, measured.st_mtime_ns, measured.st_ino)


def _compare(path: str, measured: os.stat_result, expected: Identity) -> None:
    if _identity(measured) != expected:
        raise _changed(path)


def _changed(path: str) -> StepError:
    return StepError(Failure("file_changed", f"{path!r} changed while it was read", Again.FRESH))


_REASONS = {
    errno.ENOENT: ("file_missing", "does not exist"),
    errno.ENOTDIR: ("file_missing", "does not exist"),
    errno.EACCES: ("file_unreadable", "can't be read: permission denied"),
    errno.EPERM: ("file_unreadable", "can't be read: permission denied"),
    errno.EISDIR: ("not_a_file", "is a folder"),
    errno.ENAMETOOLONG: ("file_missing", "does not exist: the name is too long"),
}


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        code, reason = _REASONS.get(error.errno or 0, ("file_unreadable", f"can't be read: {error.strerror}"))
        raise StepError(Failure(code, f"{path!r} {reason}")) from None
    except ValueError:  # a NUL, or a character that the file system's encoding lacks
        raise StepError(Failure("file_missing", f"{path!r} can't be a path")) from None
