"""JSON (an array of objects) and JSON lines.

Both are decoded by the standard library, record by record, so that both mean the same: a fraction keeps its digits, a
name given twice is noticed, and a record that can't be used spoils no other. (ijson 3.6 over yajl writes ``?`` for a
lone surrogate and crashes the interpreter on a number of 5,000 digits.)
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal

from bulkup.manifest.record import LIMIT, LIMIT_TEXT, Record, UnreadableError

_BLOCK = 65536
_SURE_INT = 18  # digits that fit 64 bits, with a sign
_SPACE = re.compile(r"[ \t\r\n]*")
_TOO_DEEP = "is nested too deeply"
_CUT_OFF = "is cut off"


class Object(dict[str, object]):
    """A JSON object that remembers which names it was given twice."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.repeated: tuple[str, ...] = ()
        if len(self) < len(pairs):
            names = [name for name, _ in pairs]
            self.repeated = tuple(name for name in self if names.count(name) > 1)


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _SURE_INT else Decimal(digits)


def _fraction(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except ArithmeticError:  # an exponent beyond all bounds; refused later, with its row and column
        return Decimal("Infinity")


_decoder = json.JSONDecoder(object_pairs_hook=Object, parse_int=_integer, parse_float=_fraction, parse_constant=Decimal)


def line_records(stream: io.BufferedReader) -> Iterator[Record]:
    """The records of JSON lines; a line that is no JSON object is a record with a problem, and reading goes on.

    Raises:
        UnreadableError: it is a JSON array.
    """
    number = line = 0
    while raw := stream.readline(LIMIT + 1):
        line += 1
        if len(raw) > LIMIT:
            number += 1
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(_BLOCK)
            yield Record(number, line, {}, f"is longer than {LIMIT_TEXT}")
            continue
        raw = raw.strip()
        if not raw:
            continue
        number += 1
        if number == 1 and raw.startswith(b"["):
            raise UnreadableError("begins with '[': a JSON array belongs in a .json file, one object a line here")
        try:
            # undecodable bytes become lone surrogates, so that the cell that holds them can be named
            yield _record(number, line, _decoder.decode(raw.decode("utf-8", "surrogateescape")))
        except json.JSONDecodeError as error:
            yield Record(number, line, {}, f"is not valid JSON: {error.msg} (character {error.pos + 1})")
        except RecursionError:
            yield Record(number, line, {}, _TOO_DEEP)


def array_records(stream: io.BufferedReader) -> Iterator[Record]:
    """The records of a JSON array.

    Raises:
        UnreadableError: it is no array, or no valid JSON, or cut off.
    """
    text = _Window(stream)
    opening = text.next()
    if not opening:
        return
    if opening != "[":
        raise UnreadableError("is not a JSON array of rows; if it has one object a line, its name must end in .jsonl")
    number = 0
    text.skip()
    if text.next() != "]":
        while True:
            number += 1
            yield _record(number, None, text.value())
            match text.next():
                case ",":
                    text.skip()
                case "]":
                    break
                case "":
                    raise UnreadableError(_CUT_OFF)
                case _:
                    raise UnreadableError("is not valid JSON: a comma is missing after a row")
    text.skip()
    if text.next():
        raise UnreadableError("has text after the array of rows")


class _Window:
    """The part of a JSON text that is being read."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._source = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
        self._text = ""
        self._at = 0

    def next(self) -> str:
        """The next character that is not space, or nothing at the end."""
        while True:
            self._at = self._past_space(self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_BLOCK):
                return ""

    def skip(self) -> None:
        """Go past the character that `next` told."""
        self._at += 1

    def value(self) -> object:
        """Decode the value that comes next.

        Raises:
            UnreadableError: there is none, or it is too long.
        """
        block = _BLOCK
        self.next()
        while True:
            value, end, problem = self._try_value()
            if end < len(self._text):  # else it may be the first half of a number
                self._at = end
                return value
            if len(self._text) - self._at > LIMIT:
                if problem is None or problem == _CUT_OFF:
                    problem = f"a row is longer than {LIMIT_TEXT}"
                raise UnreadableError(problem)
            if not self._more(block):
                if problem is not None:
                    raise UnreadableError(problem)
                self._at = len(self._text)
                return value
            block *= 2  # so that a long value is not tried again for each block of it

    def _try_value(self) -> tuple[object, int, str | None]:
        """The value, where it ends (the end of the text, if it does not end here), and what seems wrong."""
        try:
            value, end = _decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            cut = error.pos >= len(self._text.rstrip()) or error.msg.startswith("Unterminated")
            return None, len(self._text), _CUT_OFF if cut else f"is not valid JSON: {error.msg}"
        except RecursionError:
            raise UnreadableError(f"a row {_TOO_DEEP}") from None
        return value, self._past_space(end), None

    def _past_space(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return position if found is None else found.end()

    def _more(self, size: int) -> bool:
        more = self._source.read(size)
        self._text = self._text[self._at :] + more
        self._at = 0
        return bool(more)


def _record(number: int, line: int | None, value: object) -> Record:
    """A record of a JSON value; the object ``columns`` of bulkup's own export is laid beside the other names."""
    if not isinstance(value, Object):
        return Record(number, line, {}, "is not a JSON object")
    own = value.get("columns")
    if own is None:
        return Record(number, line, value, repeated=value.repeated)
    if not isinstance(own, Object):
        return Record(number, line, value, "has 'columns' that is not an object of the row's own columns")
    cells = {name: cell for name, cell in value.items() if name != "columns"}
    both = tuple(name for name in own if name in cells)
    return Record(number, line, cells | own, repeated=value.repeated + own.repeated + both)
