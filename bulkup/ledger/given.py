"""Many rows as one parameter: one statement works through all of them, without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Subquery, bindparam, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement, GenericFunction
from sqlalchemy.types import TypeEngine

Type = type[TypeEngine[Any]]


def given(**columns: Type) -> Subquery:
    """Rows that come as the parameter ``rows``: an array in JSON, of an array for each with its values in this order.

    Args:
        columns: the names, with the types of the values; of `sqlalchemy.JSON` are objects and arrays.
    """
    each = _Each(bindparam("rows")).table_valued("value")
    values = [_Item(each.c.value, index, kind).label(name) for index, (name, kind) in enumerate(columns.items())]
    return select(*values).subquery("given")


def rows(values: Sequence[Sequence[object]]) -> dict[str, str]:
    """The parameter of a statement with `given`: the values of each row."""
    return {"rows": orjson.dumps(values).decode()}


class _Each(GenericFunction[Any]):
    """The items of an array in JSON, as rows."""

    inherit_cache = True
    name = "json_each"


@compiles(_Each, "postgresql")
def _each_in_postgresql(element: _Each, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_array_elements(CAST({compiler.process(element.clauses, **options)} AS JSONB))"


class _Item(FunctionElement[Any]):
    """One item of an array in JSON, as a value of a type."""

    inherit_cache = True
    name = "item"

    def __init__(self, array: ColumnElement[Any], index: int, kind: Type) -> None:
        super().__init__(array, literal_column(str(index)), literal_column(str(kind())))
        self.type = kind()


@compiles(_Item)
def _item(element: _Item, compiler: SQLCompiler, **options: Any) -> str:
    array, index, _ = (compiler.process(each, **options) for each in element.clauses)
    return f"json_extract({array}, '$[{index}]')"


@compiles(_Item, "postgresql")
def _item_in_postgresql(element: _Item, compiler: SQLCompiler, **options: Any) -> str:
    array, index, kind = (compiler.process(each, **options) for each in element.clauses)
    return f"CAST({array} ->> {index} AS {kind})"
