"""The texts for users are true: their commands run, their links lead somewhere, the example manifests go through.

The convention: a ``console`` block holds commands (``$ ``) and what they print, both streams together, with ``...``
for anything at all. All blocks of a text run in order in one folder, which holds the demo's documents. A command
must end with 0, unless ``$ echo $?`` follows and shows another code. ``$ bulkup sandbox`` starts one, on a port of its
own; what it announces takes the place of the text's own values. A block after ``<!-- file: NAME -->`` is that file.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy import text as sql

from bulkup.ledger.schema import metadata
from tests import postgresql
from tests.bucket import beside
from tests.dask_cluster import Dask
from tests.process import Server, bulkup, serving
from tests.texts import ALL_TEXTS, ROOT, TEXTS, Block, blocks, content, prose

_DOCUMENTED_URL = "http://127.0.0.1:8420"
_DOCUMENTED_LEDGER = "postgresql://db.example.com/archive"
_DOCUMENTED_STORE = "http://127.0.0.1:9000"
_DOCUMENTED_SCHEDULER = "tcp://10.0.0.1:8786"
_ASSIGNMENT = re.compile(r"export (\w+)=(.*)")


@dataclass
class Command:
    """A command of a console block, and the lines that the text shows after it."""

    line: str
    shown: list[str] = field(default_factory=list)
    code: int = 0


def commands(block: Block) -> list[Command]:
    """The commands of a console block; ``echo $?`` belongs to the one before it."""
    found: list[Command] = []
    for line in block.body.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        else:
            found[-1].shown.append(line)
    real: list[Command] = []
    for command in found:
        if command.line == "echo $?":
            real[-1].code = int(command.shown[0])
        else:
            real.append(command)
    return real


def is_shown(printed: str, shown: list[str]) -> bool:
    """Whether what was printed is what a text shows, ``...`` standing for anything."""
    pattern = ".*".join(re.escape(part) for part in "\n".join(shown).split("..."))
    return re.fullmatch(pattern, printed.rstrip("\n"), re.DOTALL) is not None


class Shell:
    """Runs the commands of one text.

    Args:
        folder: where they run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sandbox: subprocess.Popen[str] | None = None
        self._ledger = ""
        self._open = ExitStack()
        self._dask: Dask | None = None
        self.announced: dict[str, str] = {}
        # nobody's settings, and never the vendor's own host, whatever a text leaves out
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("BULKUP_")}
        self._environment |= {"NO_COLOR": "1", "COLUMNS": "120", "PYTHONWARNINGS": "error"}

    def start(self, arguments: str = "") -> str:
        """Start a sandbox in place of the one before; returns what it announces."""
        self.stop()
        arguments = re.sub(r"--port \d+", "", arguments)
        self._sandbox = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "{sys.executable}" -m bulkup sandbox {arguments} --port 0'],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._sandbox.stdout is not None
        lines: list[str] = []
        for line in self._sandbox.stdout:
            lines.append(line)
            if line.startswith("#"):
                break
        self.announced = dict(_ASSIGNMENT.findall("".join(lines)))
        assert self.announced, "".join(lines)
        self._environment |= {name: url for name, url in self.announced.items() if name.endswith("_BASE_URL")}
        return "".join(lines)

    def stop(self) -> None:
        """End the sandbox that this started."""
        if self._sandbox is not None:
            self._sandbox.terminate()
            with self._sandbox:
                pass
            self._sandbox = None
        if self._dask is not None:
            self._dask.kill()
            self._dask = None

    def close(self) -> None:
        """End all that this started."""
        self.stop()
        self._open.close()

    @property
    def url(self) -> str:
        """The sandbox's URL."""
        return self.announced["BULKUP_LIGHTREACH_BASE_URL"].removesuffix("/lightreach")

    def write(self, block: Block) -> None:
        """Make the file that a block shows."""
        assert block.file is not None
        (self._folder / block.file).write_text(block.body.replace(_DOCUMENTED_URL, self.url), "utf-8")

    def check(self, command: Command) -> None:
        """Run a command, and compare its exit code and output with the text's."""
        program = command.line.split()[0]
        if program == "make":
            for target in command.line.split()[1:]:
                assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
            return
        if assignment := _ASSIGNMENT.fullmatch(command.line):
            if assignment[2] == _DOCUMENTED_STORE:  # the folder is a bucket of its own name there
                self._environment[assignment[1]] = self._open.enter_context(beside("archive", self._folder))
                return
            self._environment[assignment[1]] = self.announced.get(assignment[1], assignment[2])
            return
        if command.line.startswith("bulkup sandbox"):
            printed = self.start(command.line.removeprefix("bulkup sandbox"))
        else:
            assert program in {"bulkup", "python", "ls", "cp"}, f"no test knows how to run {command.line!r}"
            printed = self._run(command)
        shown = [line.replace(_DOCUMENTED_URL, self.url) for line in command.shown]
        assert is_shown(printed, shown), f"$ {command.line}\n{printed}"

    def _real(self, line: str) -> str:
        """A command with what is there instead of what the text names."""
        if _DOCUMENTED_LEDGER in line:
            self._ledger = self._ledger or postgresql.ledger()
            line = line.replace(_DOCUMENTED_LEDGER, shlex.quote(self._ledger))
        if _DOCUMENTED_SCHEDULER in line:
            if self._dask is None:
                theirs = self._environment | {"PYTHONWARNINGS": "default"}  # Dask has some of its own
                self._dask = Dask(self._folder, theirs)
                self._dask.begin(workers=1)
            line = line.replace(_DOCUMENTED_SCHEDULER, self._dask.address)
        return line.replace(_DOCUMENTED_URL, self.url)

    def _run(self, command: Command) -> str:
        python = f'"{sys.executable}"'
        functions = f'bulkup() {{ {python} -m bulkup "$@"; }}\npython() {{ {python} "$@"; }}\n'
        done = subprocess.run(
            ["/bin/sh", "-c", functions + self._real(command.line)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == command.code, f"$ {command.line}: {done.returncode}\n{done.stdout}"
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A folder with the demo's documents, and a sandbox."""
    shutil.copytree(ROOT / "bulkup" / "demo" / "archive" / "documents", tmp_path / "documents")
    shell = Shell(tmp_path)
    try:
        shell.start()
        yield shell
    finally:
        shell.close()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_what_a_text_shows_is_what_happens(text: Path, shell: Shell) -> None:
    """Each command of a text ends with the code and prints the lines that the text shows."""
    for block in blocks(text):
        if block.file is not None:
            shell.write(block)
        elif block.kind == "console":
            for command in commands(block):
                shell.check(command)


@pytest.mark.parametrize("text", ALL_TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_every_python_example_runs(text: Path) -> None:
    """A Python block is a file that a console block of the same text runs."""
    lines = [command.line for block in blocks(text) if block.kind == "console" for command in commands(block)]
    for block in blocks(text):
        if block.kind == "python":
            assert f"python {block.file}" in lines


@pytest.mark.parametrize(("printed", "shown"), [("a 1\nb 2\n", ["a ..."]), ("x\n", ["x"]), ("x\ny\n", ["...", "y"])])
def test_three_dots_stand_for_anything(printed: str, shown: list[str]) -> None:
    """Three dots match any text, also over lines."""
    assert is_shown(printed, shown)


@pytest.mark.parametrize(("printed", "shown"), [("a 1\nb\n", ["a 1"]), ("x 2\n", ["x 1"]), ("", ["x"]), ("x\n", [])])
def test_other_output_is_noticed(printed: str, shown: list[str]) -> None:
    """A line that is missing, additional or different is noticed."""
    assert not is_shown(printed, shown)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_every_sql_example_runs(text: Path) -> None:
    """A SQL block asks for what a ledger has."""
    with create_engine("sqlite://").connect() as connection:
        metadata.create_all(connection)
        for block in blocks(text):
            if block.kind == "sql":
                connection.execute(sql(block.body))


@pytest.mark.parametrize("text", ALL_TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_links_lead_somewhere(text: Path) -> None:
    """A link names a file of the project, and a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        found = text if not name else text.parent / name
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(found), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


@pytest.mark.parametrize("text", ALL_TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_files_named_in_a_text_exist(text: Path) -> None:
    """A Python file or folder of the package that a text names is there; no path of one machine is."""
    for name in re.findall(r"`(bulkup/[\w/]+(?:\.py|/))`", prose(text)):
        assert (ROOT / name).exists(), name
    for absolute in ("/work/", "/home/", "/root/", "/tmp/"):  # noqa: S108 - looked for, not used
        assert absolute not in content(text)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One sandbox for all example manifests."""
    with serving() as server:
        yield server


@pytest.mark.parametrize("manifest", sorted((ROOT / "manifests").glob("*.[cj]s*")), ids=lambda path: path.name)
def test_example_manifests_run(manifest: Path, server: Server, tmp_path: Path) -> None:
    """Each example manifest goes through as it stands."""
    done = bulkup("run", str(manifest), environment=server.environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 failed + 0 skipped + 0 unknown + 0 pending" in done.stdout
