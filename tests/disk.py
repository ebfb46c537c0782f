"""A disk under SQLite that can lose power or be full: what was written since the last sync is lost, or half of it.

It is a virtual file system of SQLite (https://www.sqlite.org/vfs.html) over the usual one, made by ctypes in the
library that Python's own ``sqlite3`` uses, so that the program under test needs no hook. It keeps a second copy of the
ledger's files as they were when they were synced last. After the process's end `cut_power` puts them back.

Names in a folder are taken to be durable at once: SQLite syncs the folder itself where a name matters to it.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FULL = 13  # SQLITE_FULL
_VFS_WORDS, _OPEN, _DELETE, _NAME = 21, 5, 6, 3
_METHODS_WORDS, _WRITE, _SYNC = 19, 3, 5
_KEPT = ("", "-wal", "-journal")
_SECTOR = 512

_Pointer = ctypes.c_void_p
_Open = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_char_p, _Pointer, ctypes.c_int, _Pointer)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_char_p, ctypes.c_int)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int)


def library() -> ctypes.CDLL | None:
    """The SQLite that Python uses; None where its functions are not to be had, such as in a static build."""
    try:
        found = ctypes.CDLL(_sqlite3.__file__)
        found.sqlite3_vfs_find.restype = _Pointer
        found.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        found.sqlite3_vfs_register.argtypes = [_Pointer, ctypes.c_int]
    except (AttributeError, OSError):
        return None
    return found


class Disk:
    """The disk of this process from now on.

    Attributes:
        full: nothing more can be written to a ledger.

    Args:
        synced: the folder of the copies.
        passes: told of each sync, ``before`` and ``after`` it.
    """

    def __init__(self, synced: Path, passes: Callable[[str, str], None]) -> None:
        self.full = False
        self._synced = synced
        self._passes = passes
        self._files: dict[int, Path] = {}
        self._tables: dict[int, Any] = {}
        self._alive: list[Any] = []

    def install(self) -> None:
        """Put it under every database that is opened from now on."""
        sqlite = library()
        assert sqlite is not None
        usual = (_Pointer * _VFS_WORDS).from_address(sqlite.sqlite3_vfs_find(None))
        vfs = type(usual).from_buffer_copy(usual)
        name = ctypes.create_string_buffer(b"bulkup-tests")
        opening, deleting = _Open(usual[_OPEN] or 0), _Delete(usual[_DELETE] or 0)

        def opened(vfs: int, path: bytes | None, file: int, flags: int, out: int) -> int:
            code: int = opening(vfs, path, file, flags, out)
            if code == 0 and path is not None:
                self._files[file] = Path(os.fsdecode(path))
                slot = _Pointer.from_address(file)
                slot.value = self._methods(slot.value or 0)
            return code

        def deleted(vfs: int, path: bytes, sync: int) -> int:
            (self._synced / Path(os.fsdecode(path)).name).unlink(missing_ok=True)
            code: int = deleting(vfs, path, sync)
            return code

        callbacks = _Open(opened), _Delete(deleted)
        vfs[_NAME] = ctypes.addressof(name)
        vfs[_OPEN], vfs[_DELETE] = (ctypes.cast(each, _Pointer).value for each in callbacks)
        self._alive += [vfs, name, opening, deleting, *callbacks]
        assert sqlite.sqlite3_vfs_register(ctypes.byref(vfs), 1) == 0

    def _methods(self, usual: int) -> int:
        """The file system's methods of a file, with ours for writing and syncing."""
        if usual not in self._tables:
            table = (_Pointer * _METHODS_WORDS).from_buffer_copy((_Pointer * _METHODS_WORDS).from_address(usual))
            writing, syncing = _Write(table[_WRITE] or 0), _Sync(table[_SYNC] or 0)

            def write(file: int, data: int, count: int, offset: int) -> int:
                code: int = _FULL if self.full else writing(file, data, count, offset)
                return code

            def sync(file: int, flags: int) -> int:
                self._passes("sync", "before")
                code: int = syncing(file, flags)
                self._keep(self._files[file])
                self._passes("sync", "after")
                return code

            callbacks = _Write(write), _Sync(sync)
            table[_WRITE], table[_SYNC] = (ctypes.cast(each, _Pointer).value for each in callbacks)
            self._alive += [writing, syncing, *callbacks]
            self._tables[usual] = table
        return ctypes.addressof(self._tables[usual])

    def _keep(self, file: Path) -> None:
        copy = self._synced / file.name
        shutil.copyfile(file, copy.with_suffix(".new"))
        copy.with_suffix(".new").replace(copy)


def cut_power(ledger: Path, synced: Path, dice: random.Random | None) -> int:
    """Make a dead process's ledger what a power cut leaves of it.

    Args:
        dice: of what was not synced, each sector is there by chance; None: nothing of it is.

    Returns:
        How many of the sectors that were not synced are lost.
    """
    lost = 0
    for ending in _KEPT:
        file = ledger.with_name(ledger.name + ending)
        if not file.exists():
            continue
        copy = synced / file.name
        data = bytearray(copy.read_bytes() if copy.exists() else b"")
        written = file.read_bytes()
        for start in range(0, len(written), _SECTOR):
            sector = written[start : start + _SECTOR]
            if data[start : start + _SECTOR] == sector:
                continue
            if dice is None or dice.random() < 0.5:
                lost += 1
                continue
            data.extend(bytes(max(0, start - len(data))))
            data[start : start + len(sector)] = sector
        file.write_bytes(data)
    ledger.with_name(ledger.name + "-shm").unlink(missing_ok=True)
    return lost
