"""Which columns a manifest may have, and what is wrong with a header."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bulkup.model import Columns

COMMON = frozenset({"path", "provider", "filename", "key"})

_EXPORTED = frozenset({
    "row", "target", "size", "md5", "sha256", "state", "document_id", "job_id", "attempts", "stage", "error_code",
    "error", "run_id", "initiated_at", "stored_at", "finished_at",
})  # fmt: skip
_MOST_COMPLAINTS = 50  # about one header: more is not a header at all
_LONGEST_NAME = 60
_SEPARATORS = ((",", "commas", ".csv"), ("\t", "tabs", ".tsv"), (";", "';'", None))


@dataclass(frozen=True)
class Schema:
    """What one reading of a manifest goes by.

    Attributes:
        file: the manifest as the user named it, fit to be printed.
        folder: what relative paths are relative to.
        kinds: the providers' columns.
        provider: of the rows that name none, and then of all.
        ignore_extra: keep unknown columns, unread, instead of refusing them.
        now: the time, for columns that must lie ahead of it.
    """

    file: str
    folder: str
    kinds: Mapping[str, type[Columns]]
    provider: str | None
    ignore_extra: bool
    now: datetime
    columns: Mapping[str, frozenset[str]] = field(init=False)
    """Each provider's own columns."""
    fields: frozenset[str] = field(init=False)
    """Columns that some provider has."""
    known: frozenset[str] = field(init=False)
    """Those, and the columns common to all."""
    exported: frozenset[str] = field(init=False)
    """Columns that only `bulkup export` adds."""

    def __post_init__(self) -> None:
        columns = {name: frozenset(kind.model_fields) for name, kind in self.kinds.items()}
        fields = frozenset().union(*columns.values())
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "known", fields | COMMON)
        object.__setattr__(self, "exported", _EXPORTED - fields)

    def unknown(self, name: str, provider: str | None) -> str:
        """The complaint about a column that nobody knows, with the nearest known one."""
        near = nearest(name, self._candidates(provider))
        advice = f"did you mean {near!r}?" if near else "remove it, or use --ignore-extra"
        return f"unknown column {_quoted(name)}: {advice}"

    def header_problems(self, header: Sequence[str], delimiter: str) -> list[str]:
        """What is wrong with the header of a table, one text each."""
        try:
            "".join(header).encode()
        except UnicodeEncodeError:
            return ["the header is not UTF-8: save the manifest as UTF-8"]
        if separators := _other_separators(header, delimiter):
            return [separators]
        problems = list(itertools.islice(self._column_problems(header), _MOST_COMPLAINTS))
        return problems or list(self._missing(header))

    def is_export(self, header: Sequence[str]) -> bool:
        """Whether a header has all that `bulkup export` adds."""
        return self.exported <= set(header)

    def _candidates(self, provider: str | None) -> list[str]:
        kind = self.kinds.get(provider or self.provider or "")
        return [*sorted(COMMON), *(sorted(self.fields) if kind is None else kind.model_fields)]

    def _column_problems(self, header: Sequence[str]) -> Iterator[str]:
        seen: set[str] = set()
        for position, name in enumerate(header, start=1):
            if not name:
                yield f"column {position} of the header has no name"
            elif name in seen:
                yield f"column {_quoted(name)} is there twice"
            elif "\0" in name:
                yield f"column {_quoted(name)} has a NUL character in its name"
            elif not (self.ignore_extra or name in self.known or name in self.exported):
                yield self.unknown(name, None)
            seen.add(name)

    def _missing(self, header: Sequence[str]) -> Iterator[str]:
        if "path" not in header:
            yield "there is no column 'path'"
        if self.provider is None and "provider" not in header:
            yield f"there is no column 'provider': add it, or use --provider with one of {', '.join(self.kinds)}"
        only = self.provider or (next(iter(self.kinds)) if len(self.kinds) == 1 else None)
        if only is not None:
            for name, info in self.kinds[only].model_fields.items():
                if info.is_required() and name not in header:
                    yield f"there is no column {name!r}, which {only} requires"


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that a misspelt one most likely stands for."""
    if len(name) > _LONGEST_NAME:
        return None
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    return next(iter(difflib.get_close_matches(plain, known, n=1)), None)


def _quoted(name: str) -> str:
    return repr(name) if len(name) <= _LONGEST_NAME else repr(name[:_LONGEST_NAME] + "…")


def _other_separators(header: Sequence[str], delimiter: str) -> str | None:
    if len(header) > 1:
        return None
    for separator, words, suffix in _SEPARATORS:
        if separator in header[0] and separator != delimiter:
            expected = next(words for separator, words, _ in _SEPARATORS if separator == delimiter)
            advice = f", or name it {suffix}" if suffix else ""
            return f"the header looks separated by {words}: separate the columns by {expected}{advice}"
    return None
