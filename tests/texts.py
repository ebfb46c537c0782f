"""The texts for users as the tests read them: fenced blocks, sections, tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README, VENDORS, LEDGER, SANDBOX, DESIGN, FAULTS = (
    ROOT / name
    for name in (
        "README.md",
        "docs/vendors.md",
        "docs/ledger.md",
        "docs/sandbox.md",
        "docs/design.md",
        "docs/faults.md",
    )
)
TEXTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
"""Their console blocks are run."""

ALL_TEXTS = [*TEXTS, *(ROOT / name for name in ("CHANGELOG.md", "bulkup/providers/README.md", "manifests/README.md"))]

_BLOCK = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a text."""

    kind: str
    body: str
    file: str | None


def blocks(text: Path) -> list[Block]:
    """The fenced blocks of a text, in order."""
    found = _BLOCK.finditer(text.read_text("utf-8"))
    return [Block(match["kind"], match["body"], match["file"]) for match in found]


def content(text: Path) -> str:
    """A text as it stands."""
    return text.read_text("utf-8")


def prose(text: Path) -> str:
    """A text without its fenced blocks."""
    return _BLOCK.sub("", content(text))


def section(text: Path, title: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    whole = content(text)
    found = re.search(rf"^(#+) {re.escape(title)}\n", whole, re.MULTILINE)
    assert found is not None, f"{text.name} has no section {title!r}"
    return re.split(rf"^#{{1,{len(found[1])}}} ", whole[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def table_rows(text: str) -> list[list[str]]:
    """The rows of all tables, without their headings."""
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    heads = {number for number, row in enumerate(found) if set("".join(row)) == {"-"}}
    return [[cell.strip() for cell in row] for number, row in enumerate(found) if not {number, number + 1} & heads]


def words(cell: str) -> list[str]:
    """The code words of a cell."""
    return re.findall(r"`([^`]+)`", cell)


def first_cells(text: str) -> list[str]:
    """The code words in the first column of all tables, in order."""
    return [word for row in table_rows(text) for word in words(row[0])]
