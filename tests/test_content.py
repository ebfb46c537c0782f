"""Documents on real disks: what can be sent, and what must not be."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bulkup.content import CHUNK, SMALL, Source, digest, fingerprints, inspect
from bulkup.errors import StepError
from bulkup.model import Again, Failure

BOTH = frozenset({"md5", "sha256"})
SIZES = [1, 1000, SMALL, SMALL + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Two reading threads."""
    with ThreadPoolExecutor(2) as threads:
        yield threads


def look(*paths: Path | str, allow_empty: bool = False) -> list[Source | Failure]:
    """What `inspect` says of files."""
    return inspect([str(path) for path in paths], BOTH, allow_empty=allow_empty)


def source(path: Path | str) -> Source:
    """A file that can be sent."""
    (found,) = look(path)
    assert isinstance(found, Source)
    return found


def refusal(path: Path | str) -> str:
    """The code of a file that can't."""
    (found,) = look(path)
    assert isinstance(found, Failure)
    assert found.again is Again.NEVER
    return found.code


def filled(path: Path, size: int) -> bytes:
    """Write a file of so many bytes, no two chunks alike."""
    content = os.urandom(size)
    path.write_bytes(content)
    return content


async def read(found: Source, executor: Executor, between: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """Read it to the end: bytes given out, and the code of the error or an empty text."""
    given = 0
    failure: Failure | None = None
    try:
        async for chunk in found.chunks(executor):
            given += len(chunk)
            between()
    except StepError as error:
        failure = error.failure
    if failure is None:
        return given, ""
    assert failure.again is (Again.FRESH if failure.code == "file_changed" else Again.NEVER)
    return given, failure.code


async def pour(found: Source, executor: Executor, between: Callable[[], object] = lambda: None) -> tuple[bytes, str]:
    """Pour it into a socket: what came out, and the code of the error or an empty text."""
    mine, theirs = socket.socketpair()
    for each in (mine, theirs):
        each.settimeout(0)
    part, given, code = found.poured(executor), bytearray(), ""
    descriptor = mine.detach()
    try:
        while (last := await part.pour(descriptor)) is None:
            with suppress(BlockingIOError):
                while data := theirs.recv(1024 * 1024):
                    given += data
            between()
        with suppress(BlockingIOError):
            while data := theirs.recv(1024 * 1024):
                given += data
        given += last
    except StepError as error:
        code = error.failure.code
    found.close(executor)
    theirs.close()
    return bytes(given), code


def open_descriptors() -> set[str]:
    """Numbers of all that this process holds open."""
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that is asked for


def open_files(folder: Path) -> list[str]:
    """Files below a folder that this process holds open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(folder))]


# --- inspecting -----------------------------------------------------------------------------------------------------


def test_what_is_no_file(tmp_path: Path) -> None:
    """Each kind of unusable path has its code, and one does not spoil the others."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "good").write_bytes(b"x")
    (tmp_path / "empty").touch()
    names = ["missing", "folder", "pipe", "dangling", "good/below", "n" * 300, "a\0b", "\ud800", "empty", "good"]
    found = look(*(f"{tmp_path}/{name}" for name in names), "/dev/zero")
    codes = [item.code if isinstance(item, Failure) else "" for item in found]
    assert codes == [
        "file_missing",
        "not_a_file",
        "not_a_file",
        "file_missing",
        "file_missing",
        "file_missing",
        "file_missing",
        "file_missing",
        "file_empty",
        "",
        "not_a_file",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("size", [10, SMALL + 1])
def test_unreadable(tmp_path: Path, size: int) -> None:
    """A file without permission is found out before the init, whatever its size."""
    path = tmp_path / "secret"
    filled(path, size)
    path.chmod(0)
    assert refusal(path) == "file_unreadable"


@pytest.mark.parametrize("size", [10, SMALL + 1])
def test_unreadable_by_the_system(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where no permission keeps root out: the system's refusal is simulated."""
    path = tmp_path / "secret"
    filled(path, size)

    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bulkup.content.os.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert refusal(path) == "file_unreadable"


def test_empty_file(tmp_path: Path) -> None:
    """An empty file is refused, or sent if the user wants it."""
    path = tmp_path / "empty"
    path.touch()
    assert refusal(path) == "file_empty"
    (found,) = look(path, allow_empty=True)
    assert isinstance(found, Source)
    assert (found.content.size, found.data, found.content.md5) == (0, b"", hashlib.md5(b"").hexdigest())  # noqa: S324


@pytest.mark.parametrize("size", SIZES)
async def test_content_and_hashes(tmp_path: Path, executor: Executor, size: int) -> None:
    """The bytes come complete and in order, with their hashes, read before the init only if they are few."""
    path = tmp_path / "file"
    content = filled(path, size)
    found = source(path)
    assert (found.data is not None) == (size <= SMALL)
    assert b"".join([chunk async for chunk in found.chunks(executor)]) == content
    assert found.content.size == size
    assert found.content.mtime_ns == path.stat().st_mtime_ns
    assert found.content.md5 == hashlib.md5(content).hexdigest()  # noqa: S324
    assert found.content.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", SIZES[3:])
async def test_poured(tmp_path: Path, executor: Executor, size: int) -> None:
    """The same, poured into a socket that takes little at a time; then nothing is left open."""
    path = tmp_path / "file"
    content = filled(path, size)
    found = source(path)
    descriptors = open_descriptors()
    for _ in range(2):
        assert await pour(found, executor) == (content, "")
    assert found.content.md5 == hashlib.md5(content).hexdigest()  # noqa: S324
    assert found.content.sha256 == hashlib.sha256(content).hexdigest()
    assert open_descriptors() <= descriptors


async def test_hashes_are_known_with_the_last_chunk(tmp_path: Path, executor: Executor) -> None:
    """A vendor's answer may come before the generator is asked again: by then the hashes are there."""
    path = tmp_path / "file"
    content = filled(path, 2 * CHUNK + 5)
    found = source(path)
    chunks = found.chunks(executor)
    given = 0
    while given < len(content):
        given += len(await anext(chunks))
    assert found.content.md5 == hashlib.md5(content).hexdigest()  # noqa: S324
    await close(chunks)


async def test_only_the_hashes_asked_for(tmp_path: Path, executor: Executor) -> None:
    """A hash that no proof needs is not computed."""
    for size in (10, SMALL + 1):
        filled(tmp_path / "file", size)
        (found,) = inspect([str(tmp_path / "file")], frozenset({"md5"}), allow_empty=False)
        assert isinstance(found, Source)
        await read(found, executor)
        assert found.content.md5 is not None
        assert found.content.sha256 is None


async def test_read_twice(tmp_path: Path, executor: Executor) -> None:
    """A second attempt gets the same bytes anew, also after a first one that was given up."""
    for size in (10, 3 * CHUNK):
        content = filled(tmp_path / "file", size)
        found = source(tmp_path / "file")
        await anext(given_up := found.chunks(executor))
        await close(given_up)
        for _ in range(2):
            assert b"".join([chunk async for chunk in found.chunks(executor)]) == content
        assert found.content.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [10, SMALL + 1])
async def test_undecodable_name(tmp_path: Path, executor: Executor, size: int) -> None:
    """A name that is no UTF-8 works as it stands."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff.pdf")
    with open(path, "wb") as file:  # noqa: PTH123, ASYNC230 - a plain string, as the engine has it
        file.write(b"x" * size)
    assert await read(source(path), executor) == (size, "")
    assert fingerprints([path]) != [None]
    assert refusal(path + "?") == "file_missing"


def test_fingerprints_and_digest(tmp_path: Path) -> None:
    """What can't be looked at is None, never an error."""
    content = filled(tmp_path / "file", 10)
    there, *others = fingerprints(f"{tmp_path}/{name}" for name in ("file", "missing", "a\0b", "\ud800"))
    assert there == (10, (tmp_path / "file").stat().st_mtime_ns)
    assert others == [None] * 3
    assert digest(str(tmp_path / "file"), "sha256", lambda: False) == hashlib.sha256(content).hexdigest()
    assert digest(str(tmp_path / "file"), "sha256", lambda: True) is None
    assert [digest(f"{tmp_path}/{name}", "md5", lambda: False) for name in ("missing", "a\0b", "\ud800")] == [None] * 3


# --- files that change ----------------------------------------------------------------------------------------------


def grow(path: Path) -> None:
    """Longer, and nothing else: the time stays."""
    before = path.stat()
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def shrink(path: Path) -> None:
    """Shorter, and nothing else."""
    before = path.stat()
    os.truncate(path, before.st_size - 1)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def empty(path: Path) -> None:
    """Cut to nothing."""
    os.truncate(path, 0)


def replace(path: Path) -> None:
    """Another inode of equal size and time."""
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(os.urandom(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def touch(path: Path) -> None:
    """Only the time."""
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def vanish(path: Path) -> None:
    """Gone."""
    path.unlink()


CHANGES = [grow, shrink, empty, replace, touch, vanish]


def once(change: Callable[[Path], None], path: Path) -> Callable[[], None]:
    """What changes a file when it is called first."""
    changes = iter([change])

    def changing() -> None:
        for step in changes:
            step(path)

    return changing


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [SMALL + 1, CHUNK, 3 * CHUNK + 7])
async def test_changed_before_it_is_sent(
    tmp_path: Path, executor: Executor, change: Callable[[Path], None], size: int
) -> None:
    """Nothing of a file that is another than the one inspected is given out."""
    path = tmp_path / "file"
    filled(path, size)
    found = source(path)
    change(path)
    assert await read(found, executor) == (0, "file_missing" if change is vanish else "file_changed")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [4 * CHUNK, 5 * CHUNK + 7])
async def test_changed_while_it_is_sent(
    tmp_path: Path, executor: Executor, change: Callable[[Path], None], size: int
) -> None:
    """A file that changes on the way breaks off before its last chunk: a full-length body is never sent."""
    path = tmp_path / "file"
    filled(path, size)
    found = source(path)
    given, code = await read(found, executor, once(change, path))
    assert code == ("file_missing" if change is vanish else "file_changed")
    assert 0 < given < size


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [4 * CHUNK, 5 * CHUNK + 7])
async def test_changed_while_it_is_poured(
    tmp_path: Path, executor: Executor, change: Callable[[Path], None], size: int
) -> None:
    """The same for one that goes into a socket, before its first bytes and on the way."""
    path = tmp_path / "file"
    content = filled(path, size)
    expected = "file_missing" if change is vanish else "file_changed"
    found = source(path)
    given, code = await pour(found, executor, once(change, path))
    assert code == expected
    assert 0 < len(given) < size
    assert content.startswith(given)
    path.write_bytes(content)
    found = source(path)
    change(path)
    assert await pour(found, executor) == (b"", expected)
    await closed(tmp_path, executor)


@pytest.mark.parametrize("times", [1, 2])
def test_changed_while_it_is_inspected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """A small file that changes while it is read is read once more, then failed."""
    path = tmp_path / "file"
    filled(path, 10)
    real = os.fstat
    changes = [touch] * times

    def fstat(fd: int) -> os.stat_result:
        if changes:
            changes.pop()(path)
        return real(fd)

    monkeypatch.setattr("bulkup.content.os.fstat", fstat)
    (found,) = look(path)
    if times == 1:
        assert isinstance(found, Source)
    else:
        assert isinstance(found, Failure)
        assert (found.code, found.again) == ("file_changed", Again.NEVER)


# --- giving up ------------------------------------------------------------------------------------------------------


async def close(chunks: AsyncIterator[bytes]) -> None:
    """End a generator early."""
    await chunks.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["close", "drop", "cancel"])
async def test_abandoned_stream_leaves_nothing_open(tmp_path: Path, executor: Executor, how: str) -> None:
    """A stream that is given up half-way closes its file, without a warning."""
    path = tmp_path / "file"
    filled(path, 4 * CHUNK)
    found = source(path)
    chunks = found.chunks(executor)
    await anext(chunks)
    assert open_files(tmp_path) == [str(path)]
    if how == "close":
        await close(chunks)
    elif how == "cancel":
        await cancelled(chunks)
    del chunks
    gc.collect()
    await closed(tmp_path, executor)


async def test_a_reader_closes_its_file_though_its_stream_is_held(tmp_path: Path, executor: Executor) -> None:
    """An HTTP library may hold on to the stream of a request that failed: the file is closed without its help."""
    path = tmp_path / "file"
    content = filled(path, 4 * CHUNK)
    found = source(path)
    held = found.chunks(executor)
    await anext(held)
    found.close(executor)
    await closed(tmp_path, executor)
    assert b"".join([chunk async for chunk in found.chunks(executor)]) == content
    await close(held)


@pytest.mark.parametrize("while_it_pours", [True, False])
async def test_abandoned_pouring_leaves_nothing_open(tmp_path: Path, executor: Executor, while_it_pours: bool) -> None:  # noqa: FBT001
    """One that is given up, between two rounds or in one, closes its file and its socket, and sends no more."""
    path = tmp_path / "file"
    filled(path, 16 * CHUNK)
    found = source(path)
    mine, theirs = socket.socketpair()
    mine.settimeout(0)
    part = found.poured(executor)
    with theirs:
        if while_it_pours:
            pouring = asyncio.ensure_future(part.pour(mine.detach()))
            await asyncio.sleep(0)
            pouring.cancel()
            await asyncio.wait([pouring])
        else:
            assert await part.pour(mine.detach()) is None
        found.close(executor)
        await closed(tmp_path, executor)
        got = 0
        while data := theirs.recv(1024 * 1024):  # to its end: the socket is closed
            got += len(data)
        assert got < 16 * CHUNK


async def cancelled(chunks: AsyncIterator[bytes]) -> None:
    """Cancel it while it reads (or just after)."""
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


async def closed(folder: Path, executor: Executor) -> None:
    """Waits a few rounds of the loop and of the threads until no file is open."""
    for _ in range(20):
        if not open_files(folder):
            break
        await asyncio.get_running_loop().run_in_executor(executor, int)
    assert open_files(folder) == []


@pytest.mark.parametrize("change", [None, grow])
async def test_ended_stream_leaves_nothing_open(
    tmp_path: Path, executor: Executor, change: Callable[[Path], None] | None
) -> None:
    """A stream that came to its end, good or bad, closes its file."""
    path = tmp_path / "file"
    filled(path, 4 * CHUNK)
    found = source(path)
    await read(found, executor, lambda: change(path) if change else None)
    await closed(tmp_path, executor)


async def test_abandoned_after_the_threads_ended(tmp_path: Path) -> None:
    """A stream that is closed when its threads are gone closes its file all the same."""
    path = tmp_path / "file"
    filled(path, 4 * CHUNK)
    with ThreadPoolExecutor(1) as threads:
        chunks = source(path).chunks(threads)
        await anext(chunks)
    await close(chunks)
    assert open_files(tmp_path) == []
