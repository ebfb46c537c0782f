"""Many rows as one parameter: one statement works through all of them, without the interpreter's lock."""

from __future__ import annotations

from sqlalchemy import Subquery, bindparam, func, select


def given(*names: str) -> Subquery:
    """Rows that come as the parameter ``rows``: an array in JSON, of an array for each with its values in this order.

    Objects and arrays among the values stay JSON text.
    """
    each = func.json_each(bindparam("rows")).table_valued("value")
    values = [func.json_extract(each.c.value, f"$[{index}]").label(name) for index, name in enumerate(names)]
    return select(*values).subquery("given")
