"""From a record to a row: which provider, which file, which columns, and all that is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from typing import NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bulkup.manifest.cells import escaped, plain, shown
from bulkup.manifest.naming import canonical, derived_key, filename_problem, located, path_problem
from bulkup.manifest.record import Record
from bulkup.manifest.schema import COMMON, Schema, nearest
from bulkup.model import Columns
from bulkup.rows import Complaint, Invalid, Row
from bulkup.urls import shown as shown_path

_WORDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "extra_forbidden": "is unknown",
}


def parse(kinds: Mapping[str, type[Columns]], provider: str, cells: Mapping[str, object]) -> Columns:
    """Make a row's validated columns again from its cells (`Row.cells`, also after a round trip through JSON).

    Cells that the provider does not know are left out.

    Raises:
        KeyError: there is no such provider.
        pydantic.ValidationError: the cells are not valid (any more).
    """
    kind = kinds[provider]
    names = _names(kind)
    known = cells if cells.keys() <= names else {name: value for name, value in cells.items() if name in names}
    return kind.model_validate(known)


@cache
def _names(kind: type[Columns]) -> frozenset[str]:
    """A provider's columns; to ask pydantic each time costs more than to validate a row."""
    return frozenset(kind.model_fields)


def check(record: Record, schema: Schema) -> Row | Invalid:
    """Make a valid row of a record, or tell all that is wrong with it."""
    return _Check(record, schema).result()


class _Own(NamedTuple):
    """What a row's own cells say: the columns, and what is made of them; `share` as canonical JSON."""

    columns: Columns
    target: str
    share: str
    bundled: bool
    identity: Mapping[str, str]


def _own(kind: type[Columns], provider: str, cells: Mapping[str, object]) -> _Own:
    """Raises `pydantic.ValidationError`."""
    columns = kind.model_validate(cells)
    share = canonical([provider, *columns.share])
    return _Own(columns, columns.target, share, columns.bundled, columns.identity)


@lru_cache(256)
def _own_texts(kind: type[Columns], provider: str, cells: tuple[tuple[str, object], ...]) -> _Own:
    """As `_own`, of cells that are all text: many a row has the same as the one before it."""
    return _own(kind, provider, dict(cells))


class _Check:
    """The work on one record."""

    def __init__(self, record: Record, schema: Schema) -> None:
        self._record = record
        self._schema = schema
        self._complaints: list[Complaint] = []
        self._bad: set[str] = set()
        self._common: dict[str, str] = {}
        self._cells: dict[str, object] = {}
        self._all_text = True
        self._share = ""
        self._bundled = False

    def result(self) -> Row | Invalid:
        """Go through the record."""
        record = self._record
        if record.problem is not None:
            self._complain(record.problem)
        self._sort_cells()
        row = None if record.problem is not None else self._row()
        if row is not None and not self._complaints:
            return row
        given = {name: self._common.get(name, "") for name in COMMON}
        return Invalid(
            record.number,
            tuple(self._complaints),
            path=self._safe_path(given["path"]),
            provider=given["provider"] or self._schema.provider or "",
            filename=given["filename"],
            cells=self._cells,
            share=self._share,
            bundled=self._bundled,
            group=self._group(),
        )

    def _safe_path(self, given: str) -> str:
        """The absolute path of a bad row; none where it may hold what opens the object to anybody."""
        path = located(given, self._schema.folder)[0] if given else ""
        return path if shown_path(path) == path else ""

    def _group(self) -> str:
        """What the cell says that bundles rows, whether the other cells are good or not."""
        kind = self._schema.kinds.get(self._common.get("provider") or self._schema.provider or "")
        value = self._cells.get(kind.group_column) if kind is not None and kind.group_column else None
        return "" if value is None else str(value)

    def _complain(self, text: str, column: str | None = None, value: object = None) -> None:
        record = self._record
        what = None if value is None else shown(value)
        self._complaints.append(Complaint(self._schema.file, text, record.number, record.line, column, what))

    def _sort_cells(self) -> None:
        """Take the cells apart into the common ones and the row's own; blank ones and those of an export go."""
        common, cells = self._common, self._cells
        exported, known = self._schema.exported, self._schema.known
        for column, cell in self._record.cells.items():
            if cell is None or cell == "" or column in exported:
                continue
            name, value = column, cell
            if type(cell) is not str or "\0" in cell or not cell.isascii() or column not in known:
                try:
                    name, value = cast("str", plain(column)), plain(cell)
                except ValueError as error:
                    name, value = escaped(column), escaped(cell) if isinstance(cell, str) else shown(cell)
                    self._bad.add(name)
                    self._complain(str(error), name, value)
                self._all_text &= type(value) is str  # True and 1 are equal, but not the same
            if name not in COMMON:
                cells[name] = value
            elif isinstance(value, str):
                common[name] = value
            elif isinstance(value, int) and not isinstance(value, bool):
                common[name] = str(value)
            else:
                self._bad.add(name)
                self._complain("must be text", name, value)
        for name in self._record.repeated:
            self._complain("is given twice", escaped(name))

    def _row(self) -> Row | None:
        provider = self._provider()
        path, filename, default = self._file()
        own = self._own(provider)
        if provider is None or own is None:
            return None
        self._share, self._bundled = own.share, own.bundled
        mistakes = len(self._complaints)
        for column, text in own.columns.objections(filename, self._schema.now):
            self._complain(text, column, self._common.get(column) or self._cells.get(column))
        if mistakes:
            return None
        objections, self._complaints = tuple(self._complaints), []
        own_name = None if filename == default else filename
        return Row(
            number=self._record.number,
            key=self._common.get("key") or derived_key(provider, own.target, own.identity, path, own_name),
            provider=provider,
            target=own.target,
            path=path,
            filename=filename,
            cells=self._cells,
            share=self._share,
            bundled=self._bundled,
            line=self._record.line,
            group=self._group() if self._bundled else "",
            objections=objections,
        )

    def _provider(self) -> str | None:
        kinds, argument = self._schema.kinds, self._schema.provider
        given = self._common.get("provider")
        if "provider" in self._bad:
            return None
        if given is None:
            if argument is None:
                self._complain(f"is required, here or as --provider: one of {', '.join(kinds)}", "provider")
            return argument
        if given not in kinds:
            near = nearest(given, kinds)
            advice = f"did you mean {near!r}?" if near else f"it must be one of {', '.join(kinds)}"
            self._complain(f"is no provider: {advice}", "provider", given)
            return None
        if argument not in {None, given}:
            self._complain(f"contradicts --provider {argument}", "provider", given)
        return given

    def _file(self) -> tuple[str, str, str]:
        """The absolute path, the filename, and what the filename would be by default."""
        given = self._common.get("path")
        filename = self._common.get("filename")
        if given is None:
            if "path" not in self._bad:
                self._complain("is required", "path")
            return "", "", ""
        folder = self._schema.folder
        path, default = located(given, folder)
        named = filename is not None or "filename" in self._bad
        if problem := path_problem(given, folder, path, default, named=named):
            self._complain(problem, "path", shown_path(given))
        if filename is None:
            return path, default, default
        if problem := filename_problem(filename):
            self._complain(problem, "filename", filename)
        return path, filename, default

    def _own(self, provider: str | None) -> _Own | None:
        schema = self._schema
        fields = schema.fields if provider is None else schema.columns[provider]
        own = self._cells
        if not own.keys() <= fields:
            own = {name: value for name, value in own.items() if name in fields}
            if not schema.ignore_extra:
                self._complain_of_extra(own.keys(), provider)
        if provider is None:
            return None
        try:
            kind = schema.kinds[provider]
            return _own_texts(kind, provider, tuple(own.items())) if self._all_text else _own(kind, provider, own)
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False, include_input=False):
                self._complain_of_cell(error)
            return None

    def _complain_of_extra(self, own: Collection[str], provider: str | None) -> None:
        for name, value in self._cells.items():
            if name in own or name in self._bad:
                continue
            owners = [owner for owner, columns in self._schema.columns.items() if name in columns]
            if owners:
                self._complain(f"is a column of {' and '.join(owners)}, not of {provider}: leave it empty", name, value)
            else:
                self._complain(self._schema.unknown(name, provider), None, value)

    def _complain_of_cell(self, error: ErrorDetails) -> None:
        column = str(error["loc"][0]) if error["loc"] else None
        if column in self._bad:
            return
        if error["type"] == "missing":
            text = "is required"
        elif error["type"] in {"value_error", "assertion_error"}:
            text = str(error["ctx"]["error"])
        elif error["type"] in {"literal_error", "enum"}:
            text = f"must be {error['ctx']['expected']}"
        else:
            text = _WORDS.get(error["type"]) or error["msg"][:1].lower() + error["msg"][1:]
        inside = ".".join(str(part) for part in error["loc"][1:])
        text = " ".join((f"{inside}: {text}" if inside else text).split())
        self._complain(text, column, None if column is None else self._cells.get(column))
