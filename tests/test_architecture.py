"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import bulkup

PACKAGE = Path(bulkup.__file__).parent
CLIENT = [path for path in PACKAGE.rglob("*.py") if "sandbox" not in path.relative_to(PACKAGE).parts]


def names_called(path: Path) -> set[str]:
    """The names of everything that a module calls."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def where(*names: str) -> set[str]:
    """The client's modules that call any of these."""
    return {str(path.relative_to(PACKAGE)) for path in CLIENT if names_called(path) & set(names)}


def test_one_place_starts_tasks_and_threads() -> None:
    """Task groups come from `bulkup.tasks`, and only the engine opens one."""
    assert where("create_task_group", "run_in_executor", "create_task") == {"tasks.py"}
    assert where("task_group", "plain_group") == {"engine.py"}
    assert where("begin") <= {"watch.py", "wire/client.py"}


def test_one_place_opens_documents() -> None:
    """Documents are opened by `bulkup.opening` alone; what else is read or written has its own place."""
    openers = where("open", "read_bytes", "read_text", "fdopen")
    assert openers == {
        "opening.py",
        "manifest/source.py",
        "config.py",
        "ledger/sqlite.py",
        "cli/documents.py",
        "cli/ledger.py",
        "terminal.py",
    }


def test_no_adapter_waits_retries_or_logs() -> None:
    """An adapter describes; it has no policy of its own."""
    policies = {"anyio", "asyncio", "logging", "random", "time", "os", "pathlib"}
    for path in (PACKAGE / "providers").glob("*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        imported = {name.name for node in tree if isinstance(node, ast.Import) for name in node.names}
        assert not imported & policies, path
        assert not names_called(path) & {"open", "sleep"}, path


def test_no_vendor_is_named_in_the_core() -> None:
    """A fact about a vendor is data in its traits, not a comparison in the engine."""
    for path in CLIENT:
        if path.parent == PACKAGE:
            strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
            assert "lightreach" not in strings, path


def test_the_public_face_is_sorted_and_complete() -> None:
    """Everything exported is there, sorted, and documented."""
    assert bulkup.__all__ == sorted(bulkup.__all__)
    for name in bulkup.__all__:
        assert getattr(bulkup, name).__doc__ or name in {"Event", "Subscriber"}, name


def test_files_are_short() -> None:
    """A file is one idea."""
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
