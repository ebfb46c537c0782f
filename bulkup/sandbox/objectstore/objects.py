"""Objects by key, in memory or below a folder, with their hashes."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from aiohttp import StreamReader
from anyio import to_thread

_INLINE = 262_144
_PIECE = 4_194_304


class StoredObject:
    """The bytes that came, immutable: a second PUT makes a new one.

    Args:
        content: the bytes, or the file they are in.
        size: how many bytes.
    """

    def __init__(self, content: bytes | Path, size: int) -> None:
        self.content = content
        self.size = size

    def read(self) -> bytes:
        """All bytes; blocks while a file is read."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @cached_property
    def md5(self) -> bytes:
        """The MD5 digest, computed once; blocks unless `ObjectStore.hash` was awaited before."""
        return hashlib.md5(self.read(), usedforsecurity=False).digest()

    @cached_property
    def sha256(self) -> bytes:
        """The SHA-256 digest, computed once; blocks while it is."""
        return hashlib.sha256(self.read()).digest()


class ObjectStore:
    """Where the bytes are.

    Args:
        folder: keep them below this folder, each under its key; None: in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._objects: dict[str, StoredObject] = {}
        self._parts = 0

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def __getitem__(self, key: str) -> StoredObject:
        return self._objects[key]

    def read(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            KeyError: there is no such object.
        """
        return self._objects[key].read()

    async def put(self, key: str, body: StreamReader, size: int) -> None:
        """Keep a request's body; all of it, or nothing: reading a body that ends early is an error.

        Args:
            key: the object's key; an older object of that key is replaced.
            body: the bytes.
            size: how many there are.

        Raises:
            ConnectionError: the client left before the end.
        """
        if self._folder is None:
            self._objects[key] = StoredObject(await body.read(), size)
        else:
            self._objects[key] = await self._to_file(self._folder, key, body, size)

    async def put_bytes(self, key: str, content: bytes) -> StoredObject:
        """Keep these bytes."""
        stored = StoredObject(content, len(content))
        if self._folder is not None:
            path = self._folder / key
            await to_thread.run_sync(_write, path, content)
            stored = StoredObject(path, len(content))
        self._objects[key] = stored
        return stored

    async def move(self, key: str, new_key: str) -> StoredObject:
        """Give an object another key.

        Raises:
            KeyError: there is no such object.
        """
        stored = self._objects.pop(key)
        if self._folder is not None:
            path = self._folder / new_key
            await to_thread.run_sync(_rename, self._folder / key, path)
            stored = StoredObject(path, stored.size)
        self._objects[new_key] = stored
        return stored

    async def hash(self, stored: StoredObject) -> None:
        """Compute the object's MD5 now, beside the event loop where it takes long."""
        if stored.size > _INLINE or isinstance(stored.content, Path):
            await to_thread.run_sync(lambda: stored.md5)

    async def _to_file(self, folder: Path, key: str, body: StreamReader, size: int) -> StoredObject:
        self._parts += 1
        part, path = folder / f"{self._parts}.part", folder / key
        try:
            await to_thread.run_sync(_write, part, b"")
            while piece := await _read_piece(body):
                await to_thread.run_sync(_append, part, piece)
            await to_thread.run_sync(_rename, part, path)
        except BaseException:
            await to_thread.run_sync(_discard, part)
            raise
        return StoredObject(path, size)


async def _read_piece(body: StreamReader) -> bytes:
    pieces = bytearray()
    while len(pieces) < _PIECE and (piece := await body.readany()):
        pieces += piece
    return bytes(pieces)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _rename(path: Path, new_path: Path) -> None:
    new_path.parent.mkdir(parents=True, exist_ok=True)
    path.replace(new_path)
