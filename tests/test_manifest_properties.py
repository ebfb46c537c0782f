"""Properties of the manifest reader: hostile cells, arbitrary bytes, flat memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bulkup.columns import Text
from bulkup.manifest import parse, read
from bulkup.model import Columns
from bulkup.rows import Complaint, Invalid, Row


class Plain(Columns):
    """Two columns of any text."""

    first: Text | None = None
    second: Text | None = None

    @property
    def target(self) -> str:
        """Always the same."""
        return "t"

    @property
    def share(self) -> tuple[str | None, ...]:
        """Both."""
        return (self.first, self.second)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
KINDS = {"plain": Plain}
cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
bytes_like_manifests = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"path,provider,first\n", b"a,plain,x\n", b'"', b"\n", b",", b"[", b"{", b"}", b"]"]),
        st.sampled_from([b'{"path":"a","provider":"plain"}', b'"columns":', b"1e999", b"\xff\xfe", b"\\ud800"]),
    )
).map(b"".join)


def _read(name: str, content: bytes) -> list[Row | Invalid | Complaint]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content)
        return list(read(str(file), KINDS))


def _check_cells(name: str, content: bytes, given_cells: list[tuple[str, str]]) -> None:
    found = _read(name, content)
    assert len(found) == len(given_cells)
    for number, (row, (first, second)) in enumerate(zip(found, given_cells, strict=True), start=1):
        assert isinstance(row, Row)
        assert row.number == number
        expected = {name: value for name, value in (("first", first), ("second", second)) if value}
        assert row.cells == expected
        stored = json.loads(json.dumps(row.cells))
        assert parse(KINDS, "plain", stored) == Plain.model_validate(expected)


@given(st.lists(st.tuples(cells, cells), min_size=1))
def test_any_text_survives_csv(given_cells: list[tuple[str, str]]) -> None:
    """Whatever text a CSV writer quoted comes out of a CSV or TSV manifest unchanged."""
    for name, comma in (("m.csv", ","), ("m.tsv", "\t")):
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=comma)
        writer.writerow(["path", "provider", "first", "second"])
        writer.writerows(["a", "plain", *pair] for pair in given_cells)
        _check_cells(name, text.getvalue().encode(), given_cells)


@given(st.lists(st.tuples(cells, cells), min_size=1), st.booleans())
def test_any_text_survives_json(given_cells: list[tuple[str, str]], ascii_only: bool) -> None:  # noqa: FBT001
    """Whatever text is in JSON or JSON lines, escaped or not, comes out unchanged."""
    objects = [{"path": "a", "provider": "plain", "first": one, "second": two} for one, two in given_cells]
    lines = "\n".join(json.dumps(item, ensure_ascii=ascii_only) for item in objects)
    _check_cells("m.jsonl", lines.encode(), given_cells)
    _check_cells("m.json", json.dumps(objects, ensure_ascii=ascii_only).encode(), given_cells)


@given(bytes_like_manifests, st.sampled_from(["csv", "tsv", "json", "jsonl"]), st.sampled_from(["", ".gz", ".zst"]))
def test_any_bytes_are_rows_or_complaints(content: bytes, fmt: str, packing: str) -> None:
    """No bytes raise: they give numbered rows and, at the end only, complaints of one line that can be stored."""
    packed = PACKERS[packing](content)
    for data in (packed, content, packed[:-1]):
        found = _read(f"m.{fmt}{packing}", data)
        assert found
        numbered = [item for item in found if not isinstance(item, Complaint)]
        assert [item.number for item in numbered] == list(range(1, len(numbered) + 1))
        assert found[: len(numbered)] == numbered
        for item in found:
            said = (item,) if isinstance(item, Complaint) else item.complaints if isinstance(item, Invalid) else ()
            assert all(len(str(complaint).splitlines()) == 1 for complaint in said)
            assert said or isinstance(item, Row)
            stored = [] if isinstance(item, Complaint) else [item.path, item.filename, item.provider, item.cells]
            json.dumps([stored, [c.value for c in said]], allow_nan=False, ensure_ascii=False).encode()


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """Ten times the rows take no more memory, in each format."""

    def peak(name: str, count: int) -> int:
        file = tmp_path / name
        with file.open("w", encoding="utf-8") as out:
            out.write("path,provider,first\n" if name == "m.csv" else "[" if name == "m.json" else "")
            for number in range(count):
                row = {"path": f"f{number}", "provider": "plain", "first": str(number)}
                comma = "," if name == "m.json" and number < count - 1 else ""
                out.write((",".join(row.values()) if name == "m.csv" else json.dumps(row) + comma) + "\n")
            out.write("]" if name == "m.json" else "")
        tracemalloc.start()
        assert sum(isinstance(item, Row) for item in read(str(file), KINDS)) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    for name in ("m.csv", "m.json", "m.jsonl"):
        assert peak(name, 20_000) < peak(name, 2_000) + 500_000
