"""The one place that opens documents: without waiting for anybody, and with words for whatever goes wrong.

Where a root is given, all files have to lie below it, wherever links lead. That is held to by how they are opened, not
by a look beforehand, since a link can be replaced in between.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader

from bulkup.errors import StepError
from bulkup.model import Again, Failure

Identity = tuple[int, int, int]
"""Size, modification time in ns, inode."""


def regular(path: str, measured: os.stat_result) -> None:
    """See that it is a file with bytes in it, and no pipe on which one may wait for ever; raises `StepError`."""
    if not stat.S_ISREG(measured.st_mode):
        what = "a folder" if stat.S_ISDIR(measured.st_mode) else "not a regular file"
        raise StepError(Failure("not_a_file", f"{path!r} is {what}"))


_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_descriptor(path: str, root: str | None) -> int:
    """Open for reading whatever it is, without waiting for anybody; raises `StepError` and OSError."""
    return os.open(path, _READ) if root is None else _open_below(root, path)


def opened(path: str, root: str | None) -> tuple[BufferedReader, os.stat_result]:
    """Open a regular file, without waiting for anybody, and say what it is; raises `StepError` and OSError."""
    descriptor = open_descriptor(path, root)
    try:
        measured = os.fstat(descriptor)
        regular(path, measured)
        return open(descriptor, "rb"), measured  # noqa: PTH123 - a descriptor, and whoever asks closes it
    except BaseException:
        os.close(descriptor)
        raise


def below(root: str, path: str) -> list[str]:
    """The steps from the root to where a path really leads; raises `StepError` if that is not below it."""
    real = os.path.realpath(path)
    start = root.rstrip("/") + "/"
    if not real.startswith(start):
        raise StepError(Failure("outside_root", f"{path!r} leads out of --root {root!r}"))
    return real[len(start) :].split("/")


def _open_below(root: str, path: str) -> int:
    """Open where a path really leads, step by step from the root, following no link on the way."""
    *folders, name = below(root, path)
    at = os.open(root, _STEP)
    try:
        for folder in folders:
            inner = os.open(folder, _STEP, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, _READ | os.O_NOFOLLOW, dir_fd=at)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:  # a step is another since it was looked at
            raise changed(path) from None
        raise
    finally:
        os.close(at)


def identity(measured: os.stat_result) -> Identity:
    """By which a file is known to be the same, unchanged."""
    return (measured.st_size, measured.st_mtime_ns, measured.st_ino)


def compare(path: str, measured: os.stat_result, expected: Identity) -> None:
    """See that a file did not change; raises `StepError`."""
    if identity(measured) != expected:
        raise changed(path)


def changed(path: str) -> StepError:
    """The error for a file that did."""
    return StepError(Failure("file_changed", f"{path!r} changed while it was read", Again.FRESH))


_REASONS = {
    errno.ENOENT: ("file_missing", "does not exist"),
    errno.ENOTDIR: ("file_missing", "does not exist"),
    errno.EACCES: ("file_unreadable", "can't be read: permission denied"),
    errno.EPERM: ("file_unreadable", "can't be read: permission denied"),
    errno.EISDIR: ("not_a_file", "is a folder"),
    errno.ENAMETOOLONG: ("file_missing", "does not exist: the name is too long"),
}


class Explained:
    """Turns what the system says of a file into a `StepError`. A generator would cost twice as much for each file.

    Args:
        path: the file's.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            code, reason = _REASONS.get(error.errno or 0, ("file_unreadable", f"can't be read: {error.strerror}"))
            raise StepError(Failure(code, f"{self._path!r} {reason}")) from None
        if isinstance(error, ValueError):  # a NUL, or a character that the file system's encoding lacks
            raise StepError(Failure("file_missing", f"{self._path!r} can't be a path")) from None
