"""The texts for users are true: their commands run, their tables are those of the code, their links lead somewhere.

The convention: a ``console`` block holds commands (``$ ``) and what they print, both streams together, with ``...``
for anything at all. All blocks of a text run in order in one folder, which holds the demo's documents. A command
must end with 0, unless ``$ echo $?`` follows and shows another code. ``$ bulkup sandbox`` starts one, on a port of its
own; what it announces takes the place of the text's own values. A block after ``<!-- file: NAME -->`` is that file.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from bulkup.cli import app
from bulkup.config import Settings
from bulkup.errors import __doc__ as error_tree
from bulkup.export import FIELDS
from bulkup.model import Stage, State
from bulkup.providers import PROVIDERS
from bulkup.sandbox import LightReachOptions
from bulkup.sandbox.faults import Kind

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_TEXTS = [*TEXTS, ROOT / "CHANGELOG.md", ROOT / "bulkup" / "providers" / "README.md"]
COMMANDS = ("run", "status", "export", "documents", "schema", "sandbox", "demo")

_BLOCK = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_DOCUMENTED_URL = "http://127.0.0.1:8420"
_ASSIGNMENT = re.compile(r"export (\w+)=(.*)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a text."""

    kind: str
    body: str
    file: str | None


@dataclass
class Command:
    """A command of a console block, and the lines that the text shows after it."""

    line: str
    shown: list[str] = field(default_factory=list)
    code: int = 0


def blocks(text: Path) -> list[Block]:
    """The fenced blocks of a text, in order."""
    found = _BLOCK.finditer(text.read_text("utf-8"))
    return [Block(match["kind"], match["body"], match["file"]) for match in found]


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
            self._environment[assignment[1]] = self.announced.get(assignment[1], assignment[2])
            return
        if command.line.startswith("bulkup sandbox"):
            printed = self.start(command.line.removeprefix("bulkup sandbox"))
        else:
            assert program in {"bulkup", "python", "ls", "cp"}, f"no test knows how to run {command.line!r}"
            printed = self._run(command)
        shown = [line.replace(_DOCUMENTED_URL, self.url) for line in command.shown]
        assert is_shown(printed, shown), f"$ {command.line}\n{printed}"

    def _run(self, command: Command) -> str:
        python = f'"{sys.executable}"'
        functions = f'bulkup() {{ {python} -m bulkup "$@"; }}\npython() {{ {python} "$@"; }}\n'
        done = subprocess.run(
            ["/bin/sh", "-c", functions + command.line.replace(_DOCUMENTED_URL, self.url)],
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
        shell.stop()


def _documented(text: Path) -> str:
    return text.read_text("utf-8")


def _prose(text: Path) -> str:
    """A text without its fenced blocks."""
    return _BLOCK.sub("", _documented(text))


def _section(text: Path, title: str) -> str:
    """What stands below a heading, up to the next of its level."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", _documented(text), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{text.name} has no section {title!r}"
    return found[2]


def _first_cells(section: str) -> list[str]:
    """The code words in the first column of a section's tables, in order."""
    cells = [re.split(r"(?<!\\)\|", line)[1] for line in section.splitlines() if line.startswith("| ")]
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def _options(command: str) -> set[str]:
    """The long and short options of a command, as it knows them itself."""
    group = typer.main.get_command(app)
    names = {option for parameter in vars(group)["commands"][command].params for option in parameter.opts}
    return {name for name in names if name.startswith("-")}


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


def test_every_option_of_a_text_exists() -> None:
    """What looks like an option in code is one of some command's, or of the tools named here."""
    known = set().union(*map(_options, COMMANDS)) | {"--help", "-h", "-vv"}
    for text in ALL_TEXTS:
        code = re.findall(r"`([^`\n]+)`", _prose(text))
        for span in code:
            for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", span):
                assert option in known or span.split()[0] in {"kill", "make", "curl"}, f"{text.name}: {span}"


def test_every_command_and_option_is_in_a_text() -> None:
    """Nothing of the command line is left out of the texts; all options of ``run`` are in the README's table."""
    group = typer.main.get_command(app)
    assert set(vars(group)["commands"]) == set(COMMANDS)
    rows = _first_cells(_section(ROOT / "README.md", "Commands"))
    assert [row.split()[1] for row in rows if row.startswith("bulkup")] == list(COMMANDS)
    everywhere = "\n".join(map(_documented, TEXTS))
    for command in COMMANDS:
        for option in _options(command):
            assert re.search(rf"`{option}[` ]", everywhere), f"{command} {option}"
    table = " ".join(_first_cells(_section(ROOT / "README.md", "Options of `bulkup run`")))
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", table)) | {"--help", "-h"} == _options("run") | {"--help", "-h"}


def test_the_defaults_of_the_settings_are_those_of_the_code() -> None:
    """Each setting stands in the README's table under its environment name, with its default."""
    words = {"False": "no"}
    for line in _section(ROOT / "README.md", "Options of `bulkup run`").splitlines():
        for name in re.findall(r"`BULKUP_(\w+)`", line):
            if name.lower() in Settings.model_fields:
                default = str(Settings.model_fields[name.lower()].default).removesuffix(".0")
                assert line.replace("\\|", "/").split("|")[3].strip(" `") == words.get(default, default), line
    for name in Settings.model_fields:
        assert f"`BULKUP_{name.upper()}`" in _section(ROOT / "README.md", "Options of `bulkup run`")


def test_every_manifest_column_and_credential_is_in_the_readme() -> None:
    """The table of columns is that of the code, and so are the names of the credentials."""
    columns = _first_cells(_section(ROOT / "README.md", "The manifest"))
    readme = _documented(ROOT / "README.md")
    expected = ["path", "provider", "filename", "key"]
    for name, provider in PROVIDERS.items():
        expected += provider.columns.model_fields
        for setting in provider.settings:
            assert f"`BULKUP_{name.upper()}_{setting.upper()}`" in readme
    assert columns == expected


_INWARD = {"job_open"}
"""Codes that one part of the pipeline says to another; no row ends with them."""


def _codes() -> set[str]:
    """All error codes that the code can put into a ledger, read from its source."""
    found: set[str] = set()
    word = re.compile(r"[a-z]+(_[a-z]+)*")
    sandbox = ROOT / "bulkup" / "sandbox"
    paths = [path for path in sorted((ROOT / "bulkup").rglob("*.py")) if not path.is_relative_to(sandbox)]
    trees = {path: ast.parse(path.read_text("utf-8")) for path in paths}
    named = {
        target.id: node.value
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for path, tree in trees.items():
        for node in ast.walk(tree):
            sources: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Failure":
                sources += node.args[:1]
                sources += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "literal":
                sources += [each for each in node.args if isinstance(each, ast.Name) and each.id == "INVALID_ROW"]
            elif isinstance(node, ast.Assign) and path.name in {"answers.py", "content.py"}:
                names = {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
                if names & {"word", "code"}:
                    sources.append(node.value)
                if names & {"_WORDS", "_REASONS"} and isinstance(node.value, ast.Dict):
                    sources += node.value.values
            for source in sources:
                parts = [named.get(each.id, each) if isinstance(each, ast.Name) else each for each in ast.walk(source)]
                constants = [each.value for each in parts if isinstance(each, ast.Constant)]
                found |= {each for each in constants if isinstance(each, str) and word.fullmatch(each)}
    return found - _INWARD


def test_the_table_of_error_codes_is_that_of_the_code() -> None:
    """Each code that can come is explained once, and no other."""
    listed = _first_cells(_section(ROOT / "docs" / "ledger.md", "Error codes"))
    assert sorted(listed) == sorted(_codes())


def test_the_export_fields_and_words_are_those_of_the_code() -> None:
    """Fields in their order, states and stages."""
    ledger = ROOT / "docs" / "ledger.md"
    assert tuple(_first_cells(_section(ledger, "Export"))) == FIELDS
    assert _first_cells(_section(ledger, "States")) == [state.value for state in State]
    assert _first_cells(_section(ROOT / "README.md", "The ledger and what it promises")) == [s.value for s in State]
    for stage in Stage:
        assert f"`{stage}`" in _section(ledger, "Stages")


def test_the_sandbox_text_is_complete() -> None:
    """Every kind of fault, every switch of the stand-in, and only these."""
    text = ROOT / "docs" / "sandbox.md"
    assert sorted(_first_cells(_section(text, "Kinds of faults"))) == sorted(get_args(Kind))
    assert sorted(_first_cells(_section(text, "Switches of the LightReach stand-in"))) == sorted(
        LightReachOptions.model_fields
    )


def test_the_exceptions_are_named() -> None:
    """The design text names every exception that leaves bulkup."""
    names = re.findall(r"\b\w+Error\b", error_tree or "")
    assert names
    design = _documented(ROOT / "docs" / "design.md")
    assert not [name for name in names if f"`{name}`" not in design]


@pytest.mark.parametrize("text", ALL_TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_links_lead_somewhere(text: Path) -> None:
    """A link names a file of the project, and a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(text)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        found = text if not name else text.parent / name
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", _prose(found), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


@pytest.mark.parametrize("text", ALL_TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_files_named_in_a_text_exist(text: Path) -> None:
    """A Python file or folder of the package that a text names is there; no path of one machine is."""
    for name in re.findall(r"`(bulkup/[\w/]+(?:\.py|/))`", _prose(text)):
        assert (ROOT / name).exists(), name
    for absolute in ("/work/", "/home/", "/root/", "/tmp/"):  # noqa: S108 - looked for, not used
        assert absolute not in _documented(text)


@pytest.mark.parametrize("manifest", sorted((ROOT / "manifests").glob("*.*")), ids=lambda path: path.name)
def test_example_manifests_run(manifest: Path, shell: Shell, tmp_path: Path) -> None:
    """Each example manifest goes through as it stands."""
    for name in shell.announced:
        shell.check(Command(f"export {name}=..."))
    ledger = tmp_path / "examples.db"
    shell.check(
        Command(f'bulkup run "{manifest}" --ledger "{ledger}"', ["...0 failed + 0 skipped + 0 unknown + 0 ..."])
    )
