"""Reading a manifest: formats, encodings, headers, rows, keys."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
import zstandard
from pydantic import AfterValidator, ValidationError

from bulkup.columns import Id, Text
from bulkup.manifest import parse, read
from bulkup.manifest import record as limits
from bulkup.model import Columns
from bulkup.rows import Complaint, Invalid, Row


def _day(value: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        msg = "must be a day, such as 2026-01-31"
        raise ValueError(msg)
    return value


class Alpha(Columns):
    """A provider with required and optional columns, and bundles."""

    account_id: Id
    type: Text
    group: Text | None = None

    @property
    def target(self) -> str:
        """The account."""
        return f"account:{self.account_id}"

    @property
    def share(self) -> tuple[str | None, ...]:
        """Account and group."""
        return (self.account_id, self.group)

    @property
    def bundled(self) -> bool:
        """Rows of a group belong together."""
        return self.group is not None

    @property
    def identity(self) -> dict[str, str]:
        """The type makes another document."""
        return {"type": self.type}


class Beta(Columns):
    """A provider with columns that are not text."""

    entity: Text
    note: Text | None = None
    day: Annotated[Text, AfterValidator(_day)] | None = None
    copies: int | None = None
    profile: list[dict[str, float]] | None = None

    @property
    def target(self) -> str:
        """The entity."""
        return f"entity:{self.entity}"

    @property
    def share(self) -> tuple[str | None, ...]:
        """Nothing is shared."""
        return ()


KINDS: Mapping[str, type[Columns]] = {"alpha": Alpha, "beta": Beta}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
HEADER = "path,provider,account_id,type\n"
ALPHA = {"path": "a.pdf", "provider": "alpha", "account_id": "A-1", "type": "bill"}
BETA = {"path": "b.pdf", "provider": "beta", "entity": "E-1"}
Item = Row | Invalid | Complaint
Reading = Callable[..., list[Item]]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    """Write a manifest of the name and content given, and read it."""

    def run(name: str, content: str | bytes, **options: object) -> list[Item]:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        items = list(read(str(file), KINDS, **options))  # type: ignore[arg-type]
        for complaint in complaints(items):
            assert "\n" not in str(complaint)
            json.dumps([complaint.text, complaint.value], ensure_ascii=False).encode()
        return items

    return run


def complaints(items: list[Item]) -> list[Complaint]:
    """All complaints, of rows and of the file."""
    found: list[Complaint] = []
    for item in items:
        found += [item] if isinstance(item, Complaint) else item.complaints if isinstance(item, Invalid) else []
    return found


def texts(items: list[Item]) -> list[str]:
    """All complaints as printed, without the manifest's name."""
    return [str(complaint).removeprefix(f"{complaint.file}: ") for complaint in complaints(items)]


def rows(items: list[Item]) -> list[Row]:
    """The items, all of which must be valid rows."""
    assert not complaints(items), texts(items)
    return [item for item in items if isinstance(item, Row)]


def encoded(fmt: str, objects: list[dict[str, str]]) -> bytes:
    """The same rows in a format."""
    if fmt in {"csv", "tsv"}:
        comma = "," if fmt == "csv" else "\t"
        lines = [comma.join(objects[0]), *(comma.join(item.values()) for item in objects)]
        return "".join(f"{line}\n" for line in lines).encode()
    if fmt == "json":
        return json.dumps(objects).encode()
    return "".join(f"{json.dumps(item)}\n" for item in objects).encode()


@pytest.mark.parametrize("packing", ["", ".gz", ".zst", ".GZ"])
@pytest.mark.parametrize("fmt", ["csv", "tsv", "json", "jsonl", "ndjson", "CSV"])
def test_each_format_and_packing_means_the_same(reading: Reading, tmp_path: Path, fmt: str, packing: str) -> None:
    """The suffix tells the format and the compression, in any case of letters, and the rows are the same."""
    content = encoded(fmt.lower(), [ALPHA, ALPHA | {"path": "sub/b.pdf"}])
    first, second = rows(reading(f"m.{fmt}{packing}", PACKERS[packing.lower()](content)))
    assert (first.number, first.provider, first.target) == (1, "alpha", "account:A-1")
    assert first.cells == {"account_id": "A-1", "type": "bill"}
    assert (second.number, second.path, second.filename) == (2, str(tmp_path / "sub/b.pdf"), "b.pdf")
    assert first.share == '["alpha","A-1",null]'


def test_standard_input_is_json_lines_relative_to_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads JSON lines, paths are relative to where the command runs, and the input stays open."""
    stdin = io.BytesIO(encoded("jsonl", [ALPHA]))
    (row,) = rows(list(read("-", KINDS, stdin=stdin)))
    assert row.path == str(Path.cwd() / "a.pdf")
    assert not stdin.closed
    monkeypatch.setattr("sys.stdin", None)
    assert texts(list(read("-", KINDS))) == ["standard input is closed"]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("m.csv", b"", "has no rows"),
        ("m.csv", b"\n \n", "has no rows"),
        ("m.csv", HEADER, "has no rows"),
        ("m.json", b" [ ] ", "has no rows"),
        ("m.json", b"", "has no rows"),
        ("m.jsonl", b"\xef\xbb\xbf\n\n", "has no rows"),
        ("m.csv.gz", gzip.compress(b"", mtime=0), "has no rows"),
        ("m.xlsx", b"", "unknown suffix '.xlsx'"),
        ("m", b"", "no suffix"),
        ("m.csv.bz2", b"", ".csv, .tsv, .json, .jsonl or .ndjson, each also with .gz or .zst"),
        ("m.json", b'{"path": "a"}', "is not a JSON array of rows"),
        ("m.jsonl", b'[{"path": "a"}]', "begins with '['"),
        ("m.csv", HEADER.encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("m.csv", HEADER.encode("utf-16-le"), "it may be UTF-16"),
        ("m.json", "[]".encode("utf-32"), "is UTF-32: save it as UTF-8"),
        ("m.csv", gzip.compress(b"x", mtime=0), "must end in .gz"),
        ("m.csv", b"PK\x03\x04xxxx", "is an Excel workbook"),
        ("m.csv.gz", b"path", "the gzip data is damaged or no gzip data at all"),
        ("m.csv.zst", b"path,a", "the zstd data is damaged or no zstd data at all"),
        ("m.csv", b"path,\xe9\n", "the header is not UTF-8"),
        ("m.csv", b'"path"x\n', "the header has text after a closing quote"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_complaint(
    reading: Reading, name: str, content: bytes | str, text: str
) -> None:
    """What is wrong with the whole file is said once, in plain words, without a row."""
    (complaint,) = reading(name, content)
    assert isinstance(complaint, Complaint)
    assert text in complaint.text
    assert complaint.row is None


def test_a_name_that_cannot_be_opened_is_a_complaint(tmp_path: Path) -> None:
    """A missing manifest, a folder, a forbidden one and an impossible name are told apart."""
    assert texts(list(read(str(tmp_path / "m.csv"), KINDS))) == ["there is no such file"]
    assert texts(list(read(str(tmp_path), KINDS))) == ["is a folder, not a manifest"]
    assert texts(list(read("m\0.csv", KINDS))) == ["can't be opened: embedded null byte"]
    (item,) = read("no\nsuch.csv", KINDS)
    assert "\n" not in str(item)
    if os.geteuid():
        (tmp_path / "m.csv").touch(0o000)
        assert texts(list(read(str(tmp_path / "m.csv"), KINDS))) == ["can't be opened: permission denied"]


@pytest.mark.parametrize("fmt", ["csv", "json", "jsonl"])
def test_cut_off_compression_is_noticed(reading: Reading, fmt: str) -> None:
    """A compressed manifest that lacks its end is refused, never taken for a short one."""
    content = encoded(fmt, [ALPHA | {"path": f"{hashlib.sha256(bytes([i])).hexdigest()}.pdf"} for i in range(250)])
    for name, packed in (("gz", gzip.compress(content)), ("zst", zstandard.ZstdCompressor().compress(content))):
        for cut in (1, 4, len(packed) // 2):
            *_, last = reading(f"m.{fmt}.{name}", packed[:-cut])
            assert isinstance(last, Complaint)
            assert "data is cut off" in last.text


def test_zstd_frames_follow_each_other(reading: Reading) -> None:
    """A .zst of several frames (as ``cat`` or pzstd make it) is read to its end."""
    pack = zstandard.ZstdCompressor().compress
    content = pack(HEADER.encode()) + pack(b"a,alpha,1,t\n") + b"\x50\x2a\x4d\x18\x01\0\0\0x" + pack(b"b,alpha,1,t\n")
    assert len(rows(reading("m.csv.zst", content))) == 2


def test_a_cut_json_array_names_the_last_complete_row(reading: Reading) -> None:
    """Wherever a JSON array ends too early, the rows before are read and the complaint names the last one."""
    content = encoded("json", [ALPHA, ALPHA, ALPHA])
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("}")]
    for cut in range(1, len(content)):
        *found, last = reading("m.json", content[:cut])
        complete = sum(end <= cut for end in ends)
        assert len(found) == complete
        assert isinstance(last, Complaint)
        after = f" (the last complete row is {complete})" if complete else ""
        assert last.text == f"is cut off{after}"


@pytest.mark.parametrize(
    ("tail", "text"),
    [
        ("] x", "has text after the array of rows"),
        (",]", "is not valid JSON: Expecting value"),
        (" {}]", "is not valid JSON: a comma is missing after a row"),
        ("," + "[" * 100_000, "a row is nested too deeply"),
    ],
)
def test_broken_json_stops_with_a_complaint(reading: Reading, tail: str, text: str) -> None:
    """What is no JSON array ends the reading, and the rows before it are counted."""
    first, complaint = reading("m.json", f"[{json.dumps(ALPHA)}{tail}")
    assert isinstance(first, Row)
    assert isinstance(complaint, Complaint)
    assert complaint.text == f"{text} (the last complete row is 1)"


def test_json_rows_may_be_longer_than_a_block(reading: Reading) -> None:
    """Rows that lie across the blocks in which a JSON array is read come out whole."""
    sizes = [0, 65_400, 65_536, 200_000, 3]
    objects = [BETA | {"note": "x" * size + "y"} for size in sizes]
    found = rows(reading("m.json", json.dumps(objects, indent=2)))
    assert [len(str(row.cells["note"])) for row in found] == [size + 1 for size in sizes]


def test_bad_json_lines_spoil_no_other(reading: Reading) -> None:
    """A line that is no JSON object is an invalid row with its number and line; reading goes on."""
    good = json.dumps(ALPHA).encode()
    deep = b"[" * 100_000
    lines = [good, b"", b'{"a"', b"17", b'{"path": "caf\xe9"}', b'\xff{"a": 1}', deep, good]
    found = reading("m.jsonl", b"\r\n".join(lines))
    assert [type(item) for item in found] == [Row, *[Invalid] * 5, Row]
    assert texts(found)[:3] == [
        "row 2 (line 3): is not valid JSON: Expecting ':' delimiter (character 5)",
        "row 3 (line 4): is not a JSON object",
        r"row 4 (line 5): column 'path': is not UTF-8 text (value: 'caf\\xe9')",
    ]
    assert "row 6 (line 7): is nested too deeply" in texts(found)


def test_too_long_records_are_refused_not_loaded(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record over the limit is a complaint: its row only where lines are rows, else the rest of the file."""
    for module in ("table", "objects"):
        monkeypatch.setattr(f"bulkup.manifest.{module}.LIMIT", 100_000)
    assert limits.LIMIT == 16 * 1024 * 1024
    fair = BETA | {"note": "x" * 60_000}
    for fmt in ("csv", "json", "jsonl"):
        assert len(rows(reading(f"m.{fmt}", encoded(fmt, [fair] * 4)))) == 4
    long = BETA | {"note": "x" * 300_000}
    first, second, third = reading("m.jsonl", encoded("jsonl", [BETA, long, BETA]))
    assert isinstance(first, Row)
    assert isinstance(third, Row)
    assert texts([second]) == ["row 2: is longer than 16 MiB"]
    for fmt in ("csv", "json"):
        *_, last = reading(f"m.{fmt}", encoded(fmt, [BETA | {"note": "y"}, long, long]))
        assert isinstance(last, Complaint)
        assert "longer than 16 MiB" in last.text
        assert "last complete row is 1" in last.text


def test_csv_quotes_newlines_bom_and_crlf(reading: Reading) -> None:
    """A BOM, CRLF, quoted commas, quotes and newlines are read as RFC 4180 says; lines are counted."""
    content = "\ufeff" + HEADER.replace("\n", "\r\n") + '"a, ""b"".pdf",alpha,"A\r\n1",t\r\n\r\nb.pdf,alpha,,t\r\n'
    first, second = reading("m.csv", content)
    assert isinstance(first, Row)
    assert (first.filename, first.cells["account_id"]) == ('a, "b".pdf', "A\r\n1")
    assert texts([second]) == ["row 2 (line 5): column 'account_id': is required"]


def test_an_open_quote_does_not_swallow_the_file(reading: Reading) -> None:
    """A quote that is never closed is told with the line its row starts on, and the rows before are read."""
    first, complaint = reading("m.csv", HEADER + 'a,alpha,1,t\nb,alpha,"2,t\nc,alpha,3,t\n')
    assert isinstance(first, Row)
    assert texts([complaint]) == [
        "line 3: a quote in the row that starts here is never closed (the last complete row is 1)"
    ]


def test_text_after_a_closing_quote(reading: Reading) -> None:
    """One bad row, where the next surely begins on the next line; the end of reading, where it may not."""
    found = reading("m.csv", HEADER + '"a"x,alpha,1,t\nb,alpha,2,t\n')
    assert [type(item) for item in found] == [Invalid, Row]
    assert "row 1 (line 2): has text after a closing quote" in texts(found)[0]
    for row in ('"a"x,"', '"a\nb"x,alpha,1,t"'):
        found = reading("m.csv", f"{HEADER}{row}\nb,alpha,2,t\n")
        assert [type(item) for item in found] == [Complaint]


def test_rows_of_another_length_than_the_header(reading: Reading) -> None:
    """Too many and too few cells are told with both numbers."""
    found = reading("m.csv", HEADER + "a,alpha,1\na,alpha,1,t,x\n")
    assert texts(found) == [
        "row 1 (line 2): has 3 cells, but the header has 4 columns",
        "row 2 (line 3): has 5 cells, but the header has 4 columns",
    ]


def test_undecodable_cells_are_named(reading: Reading) -> None:
    """A cell in another encoding is refused with row, column and its bytes escaped; a NUL is refused too."""
    found = reading("m.csv", HEADER.encode() + b"caf\xe9.pdf,alpha,\xff,t\na\0b,alpha,1,t\n")
    assert texts(found) == [
        r"row 1 (line 2): column 'path': is not UTF-8 text (value: 'caf\\xe9.pdf')",
        r"row 1 (line 2): column 'account_id': is not UTF-8 text (value: '\\xff')",
        r"row 2 (line 3): column 'path': has a NUL character (value: 'a\\x00b')",
    ]
    assert isinstance(found[0], Invalid)
    json.dumps(found[0].cells, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("path,provider,acount_id,type", ["unknown column 'acount_id': did you mean 'account_id'?"]),
        ("path,provider,Account ID,zzz", ["unknown column 'Account ID': did you mean 'account_id'?",
                                           "unknown column 'zzz': remove it, or use --ignore-extra"]),
        ("path,provider,,path", ["column 3 of the header has no name", "column 'path' is there twice"]),
        ("path;provider;type", ["the header looks separated by ';': separate the columns by commas"]),
        ("path\tprovider", ["the header looks separated by tabs: separate the columns by commas, or name it .tsv"]),
        ("account_id,type", ["there is no column 'path'",
                             "there is no column 'provider': add it, or use --provider with one of alpha, beta"]),
    ],
)  # fmt: skip
def test_a_wrong_header_is_told_at_once(reading: Reading, header: str, expected: list[str]) -> None:
    """Each wrong column of a header is one complaint about line 1, and no row is read."""
    found = reading("m.csv", f"{header}\n\n1,2,3,4\n")
    assert texts(found) == [f"line 1: {text}" for text in expected]
    assert all(isinstance(item, Complaint) for item in found)


def test_missing_required_columns_are_told_once_where_the_provider_is_sure(reading: Reading) -> None:
    """With ``--provider``, a column that it requires is missed in the header, not in each row."""
    found = reading("m.csv", "path\na\nb\n", provider="alpha")
    assert texts(found) == [
        "line 1: there is no column 'account_id', which alpha requires",
        "line 1: there is no column 'type', which alpha requires",
    ]


def test_all_bad_cells_of_all_rows_are_told(reading: Reading) -> None:
    """Each complaint has row, column and value and says what would be right; no bad cell hides another."""
    lines: list[dict[str, object]] = [
        {"path": "a/", "provider": "Alpha", "filename": "x/y"},
        ALPHA | {"account_id": "..", "type": True, "acount_id": "7"},
        BETA | {"day": "soon", "copies": "3", "profile": [{"x": "y"}], "account_id": "A"},
        {"path": 1.5, "provider": None, "entity": "E", "key": []},
    ]
    found = reading("m.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert texts(found) == [
        "row 1: column 'provider': is no provider: did you mean 'alpha'? (value: 'Alpha')",
        "row 1: column 'path': names a folder, not a file (value: 'a/')",
        "row 1: column 'filename': must be a name, without '/' (value: 'x/y')",
        "row 2: unknown column 'acount_id': did you mean 'account_id'? (value: '7')",
        "row 2: column 'account_id': must be an id, not a path (value: '..')",
        "row 2: column 'type': must be text (value: 'true')",
        "row 3: column 'account_id': is a column of alpha, not of beta: leave it empty (value: 'A')",
        "row 3: column 'day': must be a day, such as 2026-01-31 (value: 'soon')",
        "row 3: column 'copies': must be a whole number (value: '3')",
        "row 3: column 'profile': 0.x: must be a number (value: '[{\"x\": \"y\"}]')",
        "row 4: column 'key': must be text (value: '[]')",
        "row 4: column 'provider': is required, here or as --provider: one of alpha, beta",
    ]


def test_the_provider_argument(reading: Reading) -> None:
    """It is for rows that name none; a row that names another is invalid; it must be known itself."""
    content = "path,provider,account_id,type\na,,1,t\na,alpha,1,t\na,beta,1,t\n"
    found = reading("m.csv", content, provider="alpha")
    assert [type(item) for item in found] == [Row, Row, Invalid]
    assert "row 3 (line 4): column 'provider': contradicts --provider alpha (value: 'beta')" in texts(found)
    assert texts(reading("m.csv", content, provider="alfa")) == [
        "--provider 'alfa' is no provider: did you mean 'alpha'?"
    ]


def test_ignore_extra_keeps_unknown_columns_unread(reading: Reading) -> None:
    """With ``--ignore-extra``, unknown columns and those of other providers stay in the cells, unvalidated."""
    (row,) = rows(reading("m.csv", "path,provider,account_id,type,entity,zzz\na,alpha,1,t,E,z\n", ignore_extra=True))
    assert row.cells == {"account_id": "1", "type": "t", "entity": "E", "zzz": "z"}
    assert parse(KINDS, "alpha", row.cells) == Alpha(account_id="1", type="t")


def test_an_export_is_a_manifest_again(reading: Reading) -> None:
    """The columns that ``bulkup export`` adds are ignored, and its ``columns`` object is the row's own columns."""
    (row,) = rows(
        reading("m.csv", "row,state,document_id,key,path,provider,account_id,type\n7,failed,d,K,/a,alpha,1,t\n")
    )
    assert (row.number, row.key, row.path, row.cells) == (1, "K", "/a", {"account_id": "1", "type": "t"})
    exported = {"row": 7, "state": "failed", "path": "/a", "provider": "alpha"}
    own = {"account_id": "1", "type": "t"}
    (same,) = rows(reading("m.jsonl", json.dumps(exported | {"key": "K", "columns": own})))
    assert same == replace(row, line=1)
    found = reading("m.json", json.dumps([exported | {"columns": own, "type": "t"}, exported | {"columns": 1}]))
    assert texts(found) == [
        "row 1: column 'type': is given twice",
        "row 2: has 'columns' that is not an object of the row's own columns",
    ]


@pytest.mark.parametrize("name", ["m.json", "m.jsonl"])
def test_a_json_name_given_twice_is_refused(reading: Reading, name: str) -> None:
    """Of two values of one name in a JSON object, none is chosen silently."""
    content = json.dumps(ALPHA)[:-1] + ', "type": "other"}'
    found = reading(name, f"[{content}]" if name == "m.json" else content)
    assert texts(found) == ["row 1: column 'type': is given twice"]


@pytest.mark.parametrize("name", ["m.json", "m.jsonl"])
def test_json_numbers_keep_their_digits(reading: Reading, name: str) -> None:
    """A number in a text column is its digits, however long; inside a JSON column it stays a number."""
    digits = "9" * 5000
    content = f'{{"path":1,"provider":"beta","entity":{digits},"note":1.50,"copies":2,"profile":[{{"x":1.5}}]}}'
    (row,) = rows(reading(name, f"[{content}]" if name == "m.json" else content))
    assert row.filename == "1"
    assert row.cells == {"entity": digits, "note": "1.50", "copies": 2, "profile": [{"x": 1.5}]}
    stored = json.loads(json.dumps(row.cells))
    assert parse(KINDS, "beta", stored) == Beta(entity=digits, note="1.50", copies=2, profile=[{"x": 1.5}])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("[1e999]", "has a number that JSON can't hold"),
        ("NaN", "has a number that JSON can't hold"),
        ("1e99999999999999999999", "has a number that JSON can't hold"),
        ("[" + "9" * 30 + "]", "has a whole number of too many digits: write it as text"),
        ("[" * 60 + "]" * 60, "is nested too deeply"),
        ('{"a":1,"a":2}', "is an object that gives a name twice"),
        (r'["\ud800"]', "is not UTF-8 text"),
        (r'{"\u0000":1}', "has a NUL character"),
    ],
)
@pytest.mark.parametrize("name", ["m.json", "m.jsonl"])
def test_json_that_cannot_be_kept_is_refused_by_cell(reading: Reading, name: str, number: str, text: str) -> None:
    """A value that a ledger could not hold unchanged is a complaint about its cell; the next row is read."""
    content = json.dumps(BETA)[:-1] + f', "note": {number}}}'
    found = reading(name, f"[{content},{content}]" if name == "m.json" else content)
    for item in found:
        assert isinstance(item, Invalid)
        (complaint,) = item.complaints
        assert (complaint.column, complaint.text) == ("note", text)
        json.dumps(item.cells, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("path", "expected", "filename"),
    [
        ("x/é #%20 1.pdf", "{}/x/é #%20 1.pdf", "é #%20 1.pdf"),
        ("e\u0301.pdf", "{}/e\u0301.pdf", "e\u0301.pdf"),
        (" a.pdf ", "{}/ a.pdf ", " a.pdf "),
        ("../a", "{}/../a", "a"),
        ("/abs//a", "/abs//a", "a"),
        ("s3://b/k/%C3%A9#1?.pdf", "s3://b/k/%C3%A9#1?.pdf", "é#1?.pdf"),
        ("https://h/k/a%20b.pdf", "https://h/k/a%20b.pdf", "a b.pdf"),
        ("http://127.0.0.1:8080/a+b.pdf", "http://127.0.0.1:8080/a+b.pdf", "a+b.pdf"),
    ],
)
def test_paths_and_default_filenames(reading: Reading, tmp_path: Path, path: str, expected: str, filename: str) -> None:
    """Paths are joined to the manifest's folder and stay as they are otherwise; the last part is the filename."""
    (row,) = rows(reading("m.json", json.dumps([ALPHA | {"path": path}])))
    assert (row.path, row.filename) == (expected.format(tmp_path), filename)


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"path": "file:///a"}, "column 'path': must be a plain path, without file:// (value: 'file:///a')"),
        ({"path": "a/"}, "column 'path': names a folder, not a file (value: 'a/')"),
        ({"path": "s3://bucket"}, "column 'path': names a folder, not a file (value: 's3://bucket')"),
        ({"path": "a/.."}, "column 'path': names a folder, not a file (value: 'a/..')"),
        ({"path": "a\nb"}, r"column 'path': ends in no possible filename: give one in 'filename' (value: 'a\nb')"),
        ({"path": ""}, "column 'path': is required"),
        ({"filename": "a\tb"}, r"column 'filename': must not have control characters (value: 'a\tb')"),
        ({"filename": "a\0b"}, r"column 'filename': has a NUL character (value: 'a\\x00b')"),
        ({"filename": ".."}, "column 'filename': names a folder, not a file (value: '..')"),
    ],
)  # fmt: skip
def test_bad_paths_and_filenames(reading: Reading, cells: dict[str, str], text: str) -> None:
    """What can't be a file's path or name is refused, once."""
    assert texts(reading("m.jsonl", json.dumps(ALPHA | cells))) == [f"row 1: {text}"]


def test_the_derived_key_is_a_contract(reading: Reading, tmp_path: Path) -> None:
    """The key is the documented hash of provider, target, identity and normal path; the filename counts if given."""

    def key(cells: dict[str, str]) -> str:
        (row,) = rows(reading("m.jsonl", json.dumps(ALPHA | cells)))
        return row.key

    def expected(identity: dict[str, str], path: str) -> str:
        parts = ["alpha", "account:A-1", identity, path]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "alpha:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    assert key({"path": "é.pdf"}) == expected({"type": "bill"}, f"{tmp_path}/é.pdf")
    assert key({"path": "x/../é.pdf", "filename": "é.pdf"}) == key({"path": "é.pdf"})
    assert key({"filename": "z"}) == expected({"filename": "z", "type": "bill"}, f"{tmp_path}/a.pdf")
    assert key({"path": "s3://b/A%20a"}) == expected({"type": "bill"}, "s3://b/A%20a")
    assert key({"group": "g"}) == key({})
    assert key({"key": "mine"}) == "mine"


def test_parse_refuses_cells_that_are_no_longer_valid() -> None:
    """Stored cells are validated again: an adapter may have become stricter since."""
    with pytest.raises(ValidationError):
        parse(KINDS, "alpha", {"type": "t"})


def test_equal_cells_are_not_always_the_same(reading: Reading) -> None:
    """A row is judged by its own cells, whatever the one before it had: 1 is a number, true and "1" are none."""
    lines = [json.dumps(BETA | {"copies": value}) for value in (1, True, "1", 1, "1")]
    found = reading("m.jsonl", "\n".join(lines))
    assert [type(row) for row in found] == [Row, Invalid, Invalid, Row, Invalid]


def test_groups_are_bundles(reading: Reading) -> None:
    """What rows share, and whether they become one document, is what their columns say."""
    (row,) = rows(reading("m.jsonl", json.dumps(ALPHA | {"group": "g"})))
    assert (row.share, row.bundled) == ('["alpha","A-1","g"]', True)
