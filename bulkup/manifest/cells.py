"""Values of cells: what may be stored and sent, and how the rest is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal

_DEEPEST = 50
_LEAST, _MOST = -(2**63), 2**64 - 1  # the whole numbers that JSON libraries agree on
_ESCAPES = {0: "\\x00"} | {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # PEP 383
_LONGEST_SHOWN = 200


_FORMULA = (*"=+-@", *"\uff1d\uff0b\uff0d\uff20", "\t", "\r", "\n", "'")
"""How a cell begins that a spreadsheet may run, the full-width forms of the first four among them."""


def guarded(cell: str) -> str:
    """A cell of an export that a spreadsheet shows instead of running it: with an apostrophe before what starts so."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def unguarded(cell: str) -> str:
    """What `guarded` was given."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def plain(value: object) -> object:
    """A cell as it is kept: what JSON, UTF-8 and every ledger can hold without a change.

    Text stays as it is. A number with a fraction or of many digits becomes text with just those digits; inside a list
    or an object it becomes a float.

    Raises:
        ValueError: it can't be kept; the text says why.
    """
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    return _inner(value, 0)


def _inner(value: object, depth: int) -> object:
    if depth > _DEEPEST:
        raise ValueError("is nested too deeply")
    match value:
        case str():
            return _text(value)
        case Decimal():
            return _number(value)
        case list():
            return [_inner(item, depth + 1) for item in value]
        case Mapping():
            if getattr(value, "repeated", ()):
                raise ValueError("is an object that gives a name twice")
            return {_text(name): _inner(item, depth + 1) for name, item in value.items()}
        case _:
            return value


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("has a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8 text") from None
    return value


def _number(value: Decimal) -> int | float:
    if value.is_finite() and value.as_tuple().exponent == 0:
        if not _LEAST <= value <= _MOST:
            raise ValueError("has a whole number of too many digits: write it as text")
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("has a number that JSON can't hold")
    return number


def shown(value: object) -> str:
    """A value as a complaint shows it: escaped where it can't be stored, and not at any length."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (RecursionError, ValueError):
            return "…"
    return escaped(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")


def escaped(text: str) -> str:
    r"""Text that any file and database can hold: a NUL becomes ``\x00``, an undecodable byte the like of ``\xe9``."""
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode()
