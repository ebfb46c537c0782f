"""--root: no file outside of it is read, wherever a path leads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bulkup
from bulkup.content import SMALL, Source, digest, inspect
from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.sandbox import Sandbox
from tests.conftest import Archive, stored

SIZES = [10, SMALL + 1]


class Folders:
    """A root, and a file outside of it."""

    def __init__(self, folder: Path, size: int) -> None:
        self.root = folder / "root"
        self.outside = folder / "outside"
        (self.root / "in").mkdir(parents=True)
        self.outside.mkdir()
        (self.outside / "file").write_bytes(b"o" * size)
        (self.root / "in" / "file").write_bytes(b"i" * size)

    def look(self, path: Path | str) -> str:
        """What becomes of a path: the first letter of what was read, or a code."""
        (found,) = inspect([str(path)], frozenset({"md5"}), allow_empty=False, root=str(self.root))
        if isinstance(found, Failure):
            return found.code
        return found.data[:1].decode() if found.data else "large"


@pytest.fixture(params=SIZES)
def folders(tmp_path: Path, request: pytest.FixtureRequest) -> Folders:
    """With a small file and with a large one."""
    return Folders(tmp_path, request.param)


def test_what_lies_in_it(folders: Folders) -> None:
    """A path may take any way through the root, and links inside of it, as long as it ends there."""
    root = folders.root
    (root / "link").symlink_to("in/file")
    (root / "folder").symlink_to(root / "in")
    (root.parent / "from outside").symlink_to(root)
    good = folders.look(root / "in" / "file")
    assert good in {"i", "large"}
    names = ["link", "folder/file", "in/../in/file", "../root/in/file", "../from outside/in/file", "in//./file"]
    assert {folders.look(f"{root}/{name}") for name in names} == {good}


def test_what_leads_out_of_it(folders: Folders) -> None:
    """A path with .., a link at its end, in its middle or through another link, a name with the root's as its start."""
    root, outside = folders.root, folders.outside
    (root / "link").symlink_to(outside / "file")
    (root / "relative").symlink_to("../outside/file")
    (root / "chain").symlink_to("link")
    (root / "folder").symlink_to(outside)
    (root / "in" / "deep").symlink_to(root / "folder")
    beside = root.parent / "root2"
    beside.mkdir()
    (beside / "file").write_bytes(b"o")
    names = ["link", "relative", "chain", "folder/file", "in/deep/file", "../outside/file", "in/../../outside/file"]
    paths = [*(f"{root}/{name}" for name in names), f"{outside}/file", f"{beside}/file", "/etc/passwd"]
    for path in paths:
        assert folders.look(path) == "outside_root", path


def test_nothing_is_said_of_what_is_outside(folders: Folders) -> None:
    """Whether a file outside exists, is a folder or can be read stays unknown: the code is the same."""
    for name in ("nothing", "", "file/below"):
        assert folders.look(f"{folders.root}/../outside/{name}") == "outside_root"
    assert folders.look("/dev/zero") == "outside_root"
    assert folders.look(folders.root / "nothing") == "file_missing"
    assert folders.look(folders.root / "in") == "not_a_file"
    assert folders.look(folders.root) == "outside_root"  # a folder is no file, not even this


@pytest.mark.parametrize(("forth_and_back", "code"), [(False, "outside_root"), (True, "file_changed")])
@pytest.mark.parametrize("at", ["in", "in/file"])
def test_a_link_that_is_swapped_in_time(
    folders: Folders,
    at: str,
    forth_and_back: bool,  # noqa: FBT001 - a parameter of the test
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder or file that becomes a link just before it is opened is not followed, even if it is one only then."""
    spot, kept = folders.root / at, folders.root / "kept"
    target = folders.outside / "file" if at == "in/file" else folders.outside
    look = os.path.realpath
    looked: list[str] = []

    def swapping(path: str, **options: Any) -> str:
        if forth_and_back and spot.is_symlink():  # all is well while anybody looks
            spot.unlink()
            kept.rename(spot)
        real = look(path, **options)
        looked.append(real)
        if not spot.is_symlink() and len(looked) % 2 == 0:  # after the look that goes with the opening
            spot.rename(kept)
            spot.symlink_to(target)
        return real

    monkeypatch.setattr("bulkup.content.os.path.realpath", swapping)
    path = f"{folders.root}/in/file"
    (found,) = inspect([path], frozenset(), allow_empty=False, root=str(folders.root))
    assert isinstance(found, Failure)
    assert found.code == code
    looked[:] = [""]  # to hash it takes one look
    assert digest(path, "md5", lambda: False, str(folders.root)) is None


async def test_a_large_file_that_leads_out_when_it_is_sent(tmp_path: Path) -> None:
    """It was inside when it was looked at, and is a link by the time of its transfer: no byte is given out."""
    folders = Folders(tmp_path, SMALL + 1)
    path = folders.root / "in" / "file"
    (found,) = inspect([str(path)], frozenset(), allow_empty=False, root=str(folders.root))
    assert isinstance(found, Source)
    path.unlink()
    path.symlink_to(folders.outside / "file")
    with ThreadPoolExecutor(1) as executor:
        chunks = found.chunks(executor)
        with pytest.raises(StepError, match="outside_root"):
            await anext(chunks)


def pipe_in_its_place(path: Path) -> None:
    """A named pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("rooted", [True, False])
def test_a_pipe_that_is_swapped_in_time(folders: Folders, rooted: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """A pipe in the place of the file that was looked at does not make anybody wait."""
    path = folders.root / "in" / "file"
    look: Callable[..., os.stat_result] = os.stat

    def stat(name: Any, **options: Any) -> os.stat_result:
        measured = look(name, **options)
        if name == str(path):
            pipe_in_its_place(path)
        return measured

    monkeypatch.setattr("bulkup.content.os.stat", stat)
    root = str(folders.root) if rooted else None
    (found,) = inspect([str(path)], frozenset(), allow_empty=False, root=root)
    assert isinstance(found, Failure)
    assert found.code == "not_a_file"
    monkeypatch.undo()
    assert digest(str(path), "md5", lambda: False, root) is None


async def test_a_run_within_a_root(archive: Archive) -> None:
    """A row that leads out fails at preflight, the others arrive; a row that is changed to lead out later fails too."""
    root = archive.folder / "documents"
    secret = archive.folder / "secret"
    secret.write_bytes(b"secret")
    archive.add("documents/good.pdf")
    moved = archive.add("documents/moved.pdf")
    (root / "link.pdf").symlink_to(secret)
    archive.row("documents/link.pdf")
    archive.row("documents/../secret", filename="secret.pdf")
    async with Sandbox() as sandbox:
        summary = await archive.upload(sandbox, root=root)
        assert (summary.completed, summary.failed) == (2, 2)
        ends = [archive.ended()[row] for row in (3, 4)]
        assert {(end.stage, end.error_code) for end in ends} == {("preflight", "outside_root")}
        moved.unlink()
        moved.symlink_to(secret)
        summary = await archive.upload(sandbox, root=root)
        assert (summary.skipped, summary.failed) == (1, 3)
        assert {files[0][0] for *_, files in stored(sandbox)} == {"good.pdf", "moved.pdf"}
        assert len(stored(sandbox)) == 2


async def test_a_root_that_is_none(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is missing, or is a file, is a usage error; a link to a folder, or a relative name, is good."""
    archive.add("documents/good.pdf")
    (archive.folder / "link").symlink_to("documents")
    async with Sandbox() as sandbox:
        for name in ("missing", "documents/good.pdf"):
            with pytest.raises(bulkup.ConfigError, match=r"^--root: .*" + name):
                await archive.upload(sandbox, root=archive.folder / name)
        assert not sandbox.requests
        monkeypatch.chdir(archive.folder)
        assert (await archive.upload(sandbox, root="link")).completed == 1
