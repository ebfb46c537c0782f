"""The tables of the texts for users are those of the code, and so are the options and files that they name."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import pytest
import typer.main

from bulkup.cli import app
from bulkup.config import Settings
from bulkup.errors import __doc__ as error_tree
from bulkup.export import FIELDS
from bulkup.ledger.schema import Fate, former_documents
from bulkup.model import Stage, State
from bulkup.providers import PROVIDERS, base
from bulkup.sandbox import Sandbox
from bulkup.sandbox.faults import Kind
from bulkup.sandbox.registry import VENDORS as STAND_INS
from tests.texts import (
    ALL_TEXTS,
    DESIGN,
    LEDGER,
    README,
    ROOT,
    SANDBOX,
    TEXTS,
    VENDORS,
    content,
    first_cells,
    prose,
    section,
    table_rows,
    words,
)

COMMANDS = ("run", "status", "export", "retry", "ledger", "orphans", "documents", "schema", "sandbox", "demo")
NAMES = dict(zip(PROVIDERS, ("LightReach", "LoanPro", "Alloy", "Kompliant", "Auco"), strict=True))


def _commands(command: str | None = None) -> Mapping[str, Any]:
    """The commands, or the subcommands of one."""
    group = typer.main.get_command(app)
    found: Mapping[str, Any] = vars(group)["commands"]
    return found if command is None else vars(found[command]).get("commands", {})


def _options(command: str) -> set[str]:
    """The long and short options of a command and its subcommands, as they know them themselves."""
    found = [_commands()[command], *_commands(command).values()]
    names = {o for each in found for parameter in each.params for o in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("-")}


def test_every_option_of_a_text_exists() -> None:
    """What looks like an option in code is one of some command's, or of the tools named here."""
    known = set().union(*map(_options, COMMANDS)) | {"--help", "-h", "-vv"}
    for text in ALL_TEXTS:
        code = re.findall(r"`([^`\n]+)`", prose(text))
        for span in code:
            for option in re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", span):
                assert option in known or span.split()[0] in {"kill", "make", "curl", "python"}, f"{text.name}: {span}"


def test_every_command_and_option_is_in_a_text() -> None:
    """Nothing of the command line is left out of the texts; all options of ``run`` are in the README's table."""
    assert set(_commands()) == set(COMMANDS)
    rows = first_cells(section(README, "Commands"))
    assert [row.split()[1] for row in rows if row.startswith("bulkup")] == list(COMMANDS)
    everywhere = "\n".join(map(content, TEXTS))
    for command in COMMANDS:
        for option in _options(command):
            assert re.search(rf"`{option}[` ]", everywhere), f"{command} {option}"
    table = " ".join(first_cells(section(README, "Options of `bulkup run`")))
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", table)) | {"--help", "-h"} == _options("run") | {
        "--help",
        "-h",
    }


def test_the_defaults_of_the_settings_are_those_of_the_code() -> None:
    """Each setting stands in the README's table under its environment name, with its default."""
    words = {"False": "no", "True": "yes", "None": "none", str(2**28): "256MiB"}
    for line in section(README, "Options of `bulkup run`").splitlines():
        for name in re.findall(r"`BULKUP_(\w+)`", line):
            if name.lower() in Settings.model_fields:
                default = str(Settings.model_fields[name.lower()].default).removesuffix(".0")
                assert line.replace("\\|", "/").split("|")[3].strip(" `") == words.get(default, default), line
    for name in Settings.model_fields:
        assert f"`BULKUP_{name.upper()}`" in section(README, "Options of `bulkup run`")


def test_the_columns_of_all_vendors_are_in_the_readme() -> None:
    """The common columns, and each vendor's in the order of the code, the required ones apart."""
    rows = table_rows(section(README, "The manifest"))
    assert [row[0] for row in rows[:4]] == ["`path`", "`provider`", "`filename`", "`key`"]
    for row, (name, provider) in zip(rows[4:], PROVIDERS.items(), strict=True):
        assert words(row[0]) == [name]
        assert words(row[1]) + words(row[2]) == list(provider.columns.model_fields)
        needed = [column for column, field in provider.columns.model_fields.items() if field.is_required()]
        assert words(row[1])[: len(needed)] == needed
        assert len(words(row[1])) == len(needed) or " one of " in row[1]
    assert words(table_rows(section(README, "The manifest"))[1][2]) == list(PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_columns_of_a_vendor_are_explained(name: str) -> None:
    """The table of its section is that of the code."""
    columns = PROVIDERS[name].columns.model_fields
    rows = table_rows(section(VENDORS, f"Columns of {NAMES[name]}"))
    assert [words(row[0]) for row in rows] == [[column] for column in columns]
    assert [row[0] for row in rows if row[1] == "yes"] == [
        f"`{c}`" for c, field in columns.items() if field.is_required()
    ]
    assert all(row[2] for row in rows)


def test_the_vendors_and_their_credentials_are_in_the_readme() -> None:
    """Each vendor is introduced; what suffices as its credentials, and its host, are those of the code."""
    assert [words(row[0]) for row in table_rows(section(README, "The vendors"))] == [[name] for name in PROVIDERS]
    rows = table_rows(section(README, "Credentials and settings"))
    for row, (name, provider) in zip(rows, PROVIDERS.items(), strict=True):
        assert words(row[0]) == [name]
        needed = [setting for way in provider.credentials for setting in way]
        assert words(row[1]) == [f"BULKUP_{name.upper()}_{setting.upper()}" for setting in needed]
        assert words(row[2]) == [provider.adapter().base_url]


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_settings_of_a_vendor_are_explained(name: str) -> None:
    """The table of its section is that of the code, with the defaults."""
    provider = PROVIDERS[name]
    rows = table_rows(section(VENDORS, f"Settings of {NAMES[name]}"))[: len(provider.settings) + 1]
    settings = [*provider.settings, "base_url"]
    assert [words(row[0]) for row in rows] == [[f"BULKUP_{name.upper()}_{each.upper()}"] for each in settings]
    for row, setting in zip(rows, settings, strict=True):
        default = str(getattr(provider.adapter(), setting) or "").removesuffix(".0")
        if row[1] != "see below":
            assert words(row[1]) == ([default] if default else [])


def test_the_status_words_of_kompliant_are_those_of_the_code() -> None:
    """What each word of ``upload_status`` means by default."""
    adapter: Any = PROVIDERS["kompliant"].adapter()
    names = [field.name for field in fields(adapter) if field.name.endswith("_statuses")]
    for row, name in zip(table_rows(section(VENDORS, "Settings of Kompliant"))[-len(names) :], names, strict=True):
        assert (f"{row[0]}_statuses", row[1].replace(", ", ",")) == (name, getattr(adapter, name))


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_vendor_has_an_example(name: str) -> None:
    """Its section shows a manifest, and a run of it."""
    part = section(VENDORS, NAMES[name])
    assert f"<!-- file: {name}.csv -->" in part
    assert f"$ bulkup run {name}.csv --provider {name}" in part


_CAPABILITIES: Mapping[str, type] = {
    "list": base.Lister,
    "get": base.Getter,
    "refresh-urls": base.UrlRefresher,
    "download": base.Downloader,
    "archive": base.Archiver,
    "update": base.Updater,
    "required": base.Requirements,
    "fulfillments": base.Requirements,
    "link": base.Requirements,
}


def test_what_each_vendor_can_do_with_documents() -> None:
    """The table of the subcommands says which vendors have them, and which properties can be updated."""
    assert _CAPABILITIES.keys() == _commands("documents").keys()
    rows = {words(row[0])[0]: row for row in table_rows(section(README, "Documents at a vendor"))}
    assert list(rows) == list(_commands("documents"))
    for subcommand, row in rows.items():
        able = [isinstance(each.adapter(), _CAPABILITIES[subcommand]) for each in PROVIDERS.values()]
        assert row[2:] == ["yes" if each else "-" for each in able], subcommand
    loanpro = PROVIDERS["loanpro"].adapter()
    assert isinstance(loanpro, base.Updater)
    assert words(rows["update"][1])[1:] == list(loanpro.updatable)


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
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
            if isinstance(node, ast.Call) and called in {"Failure", "Explanation"}:
                sources += node.args[:1]
                sources += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            elif isinstance(node, ast.Call) and called == "literal":
                sources += [each for each in node.args if isinstance(each, ast.Name) and each.id == "INVALID_ROW"]
            elif isinstance(node, ast.Assign) and path.name in {"answers.py", "opening.py"}:
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
    listed = first_cells(section(LEDGER, "Error codes"))
    assert sorted(listed) == sorted(_codes())


def test_the_export_fields_and_words_are_those_of_the_code() -> None:
    """Fields in their order, states and stages."""
    assert tuple(first_cells(section(LEDGER, "Export"))) == FIELDS
    assert first_cells(section(LEDGER, "States")) == [state.value for state in State]
    assert first_cells(section(README, "The ledger and what it promises")) == [s.value for s in State]
    for stage in Stage:
        assert f"`{stage}`" in section(LEDGER, "Stages")


def test_the_history_of_a_row_is_explained() -> None:
    """The columns of the table of former documents, and the fates of records without bytes."""
    part = section(LEDGER, "Former documents and orphans")
    assert ["id", *first_cells(part)] == [column.name for column in former_documents.columns]
    assert words(table_rows(part)[-1][1]) == [Fate.ARCHIVED, Fate.LEFT]


def test_the_sandbox_text_is_complete() -> None:
    """Every kind of fault, every step that faults can spoil, and only these."""
    assert sorted(first_cells(section(SANDBOX, "Kinds of faults"))) == sorted(get_args(Kind))
    steps = {name: sorted(step.name for step in steps) for name, steps in Sandbox()._steps.items()}  # no other way in
    rows = table_rows(section(SANDBOX, "Steps"))
    assert {words(row[0])[0]: sorted(words(row[1]) + words(row[2])) for row in rows} == steps


@pytest.mark.parametrize("vendor", STAND_INS, ids=lambda vendor: vendor.name)
def test_the_switches_of_a_stand_in_are_explained(vendor: type[Any]) -> None:
    """Every switch in the order of the code, with its default where that is one word."""
    switches = vendor.options_type.model_fields
    rows = table_rows(section(SANDBOX, f"Switches of {NAMES[vendor.name]}"))
    assert [words(row[0]) for row in rows] == [[name] for name in switches]
    for row in rows:
        default = switches[row[0].strip("`")].default
        if isinstance(default, bool):
            assert row[1] == str(default).lower(), row
        elif isinstance(default, int | float) or (isinstance(default, str) and default):
            assert row[1] == str(default), row


def test_the_exceptions_are_named() -> None:
    """The design text names every exception that leaves bulkup."""
    names = re.findall(r"\b\w+Error\b", error_tree or "")
    assert names
    design = content(DESIGN)
    assert not [name for name in names if f"`{name}`" not in design]
