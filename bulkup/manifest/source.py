"""From a manifest's name to a stream of UTF-8 bytes: opening, decompressing, and a look at the first bytes."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import zstandard

from bulkup.errors import StepError
from bulkup.manifest.record import UnreadableError
from bulkup.urls import is_url

STDIN = "-"

_NAME = re.compile(r"\.(csv|tsv|jsonl|json|ndjson)(?:\.(gz|zst))?$", re.IGNORECASE)
_KNOWN = ".csv, .tsv, .json, .jsonl or .ndjson, each also with .gz or .zst after it"
_CHUNK = 65536
_ZSTD_CHUNK = 2048  # a few bytes of zstd can stand for a megabyte: small bites keep a bomb's output small
_LONGEST_MARK = 4
_ENCODINGS = (  # the longer marks first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_OTHER_FILES = (
    (b"\x1f\x8b", "is gzip data: its name must end in .gz"),
    (b"\x28\xb5\x2f\xfd", "is zstd data: its name must end in .zst"),
    (b"PK\x03\x04", "is an Excel workbook or a zip archive: save it as CSV (UTF-8)"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """An open manifest.

    Attributes:
        stream: its bytes, decompressed and without a BOM.
        format: ``csv``, ``tsv``, ``json`` or ``jsonl``.
        folder: what its relative paths are relative to: an absolute path, or a URL.
    """

    stream: io.BufferedReader
    format: str
    folder: str


@contextlib.contextmanager
def opened(
    manifest: str, stdin: BinaryIO | None, fetch: Callable[[str], Iterator[bytes]] | None = None
) -> Iterator[Source]:
    """Open a manifest by its name, or standard input (JSON lines) for ``-``; standard input is left open.

    Args:
        manifest: a path or URL.
        stdin: read instead of the process's.
        fetch: gives the bytes of a URL; raises `StepError`, also in the middle.

    Raises:
        UnreadableError: also later, out of the stream.
    """
    if manifest == STDIN:
        if stdin is None and sys.stdin is None:
            raise UnreadableError("standard input is closed")
        source = cast("io.BufferedIOBase", sys.stdin.buffer if stdin is None else stdin)
        yield Source(_stream(_checked(_guarded(_plain(source), "input"))), "jsonl", str(_cwd()))
        return
    if fetch is not None and is_url(manifest):
        with contextlib.closing(cast("Generator[bytes]", fetch(manifest))) as chunks:
            yield _described(manifest, _stream(chunks), manifest.rpartition("/")[0])
        return
    path = Path(manifest)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise UnreadableError("there is no such file") from None
    except IsADirectoryError:
        raise UnreadableError("is a folder, not a manifest") from None
    except (OSError, ValueError) as error:
        raise UnreadableError(f"can't be opened: {_reason(error)}") from None
    with file:
        folder = path.parent if path.is_absolute() else _cwd() / path.parent
        yield _described(manifest, file, str(folder))


def _described(manifest: str, file: io.BufferedIOBase, folder: str) -> Source:
    """What a manifest's name says of its bytes."""
    name = _NAME.search(manifest)
    if name is None:
        suffix = PurePosixPath(manifest).suffix
        found = f"unknown suffix {suffix!r}" if suffix else "no suffix to tell the format by"
        raise UnreadableError(f"{found}: the name must end in {_KNOWN}")
    kind, packing = name[1].lower(), (name[2] or "").lower()
    if packing == "gz":
        chunks = _guarded(_plain(gzip.GzipFile(fileobj=file)), "gzip data")
    elif packing == "zst":
        chunks = _guarded(_unzstd(file), "zstd data")
    else:
        chunks = _guarded(_plain(file), "file")
    return Source(_stream(_checked(chunks)), "jsonl" if kind == "ndjson" else kind, folder)


class _Chunks(io.RawIOBase):
    """The raw end of a stream whose bytes come from an iterator."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # BufferedReader passes a memoryview
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _stream(chunks: Iterator[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Chunks(chunks), _CHUNK)


def _plain(file: io.BufferedIOBase) -> Iterator[bytes]:
    # `read` would ask a pipe again and again until it has so much, and not look at signals in between
    while chunk := file.read1(_CHUNK):
        yield chunk


def _unzstd(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Decompress frame after frame; zstandard's own reader takes a cut-off file for a complete one.

    Raises:
        EOFError: the last frame is not complete.
    """
    decompressor = zstandard.ZstdDecompressor()
    frame: zstandard.ZstdDecompressionObj | None = None
    while chunk := file.read(_ZSTD_CHUNK):
        while chunk:
            frame = frame or decompressor.decompressobj()
            if data := frame.decompress(chunk):
                yield data
            chunk = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError


def _guarded(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    """The same chunks; what goes wrong in reading them is an `UnreadableError`."""
    try:
        yield from chunks
    except EOFError:
        raise UnreadableError(f"the {what} is cut off") from None
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError):
        raise UnreadableError(f"the {what} is damaged or no {what} at all") from None
    except StepError as error:
        raise UnreadableError(error.failure.text) from None
    except (OSError, ValueError) as error:
        raise UnreadableError(f"the {what} can't be read: {_reason(error)}") from None


def _checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks without a UTF-8 BOM; refuses what its first bytes show to be another encoding or format."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _LONGEST_MARK:
            break
    for mark, encoding in _ENCODINGS:
        if head.startswith(mark):
            raise UnreadableError(f"is {encoding}: save it as UTF-8")
    for mark, text in _OTHER_FILES:
        if head.startswith(mark):
            raise UnreadableError(text)
    if zeros := head[:_LONGEST_MARK].count(0):
        encoding = "UTF-32" if zeros == _LONGEST_MARK - 1 else "UTF-16"
        raise UnreadableError(f"begins with NUL bytes, it may be {encoding}: save it as UTF-8")
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from chunks


def _cwd() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise UnreadableError(f"the current folder can't be found: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
