"""Where a row's file is, what the vendor is told it is called, and the key a row has by default."""

from __future__ import annotations

import hashlib
import os.path
import re
from urllib.parse import unquote

import orjson

from bulkup.model import Columns
from bulkup.urls import is_http, is_url, joined, url_problem

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FOLDERS = frozenset({"", ".", ".."})


def located(given: str, folder: str) -> tuple[str, str]:
    """The absolute path (or URL) of a row's path, and its last part, which is the filename by default.

    Symbolic links and ``..`` stay; in the last part of a URL percent-encoding is undone. In a manifest that is an
    object itself, a relative path is relative to that object's folder, and ``..`` goes.
    """
    if not is_url(given):
        default = given.rpartition("/")[2]
        if is_url(folder) and not given.startswith("/"):
            return joined(folder, given), default
        return os.path.join(folder, given), default  # noqa: PTH118 - pathlib takes five times as long
    rest = given.partition("://")[2]
    if is_http(given):  # in an object store, ? and # are letters like any other
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    return given, unquote(rest.partition("/")[2].rpartition("/")[2])


def path_problem(given: str, folder: str, path: str, default: str, *, named: bool) -> str | None:
    """What is wrong with a row's path.

    Args:
        given: as the row has it.
        folder: the manifest's.
        path, default: what `located` made of it.
        named: the row gives a filename.
    """
    if given.lower().startswith("file://"):
        return "must be a plain path, without file://"
    if default in _FOLDERS:
        return "names a folder, not a file"
    if is_url(path):
        if (problem := url_problem(path)) is not None:
            return problem
    elif is_url(folder):
        return "is a path of this machine, which the manifest is not on: a relative path, or a URL"
    if not named and filename_problem(default) is not None:
        return "ends in no possible filename: give one in 'filename'"
    return None


def filename_problem(filename: str) -> str | None:
    """What is wrong with a filename."""
    if "/" in filename:
        return "must be a name, without '/'"
    if _CONTROL.search(filename):
        return "must not have control characters"
    if filename in _FOLDERS:
        return "names a folder, not a file"
    return None


def canonical(value: object) -> str:
    """JSON text that is the same for equal values: names sorted, no spaces, nothing escaped that need not be."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def derived_key(provider: str, columns: Columns, path: str, filename: str | None) -> str:
    """The stable identity of a row that gives no key. This rule is a contract: ledgers are asked by it for ever.

    It is the provider, a colon, and the first 32 hexadecimal digits of the SHA-256 of
    ``[provider, target, identity, path]`` as `canonical` JSON in UTF-8, where `identity` is `Columns.identity` with
    ``filename`` added if the row gives one that is not the default, and `path` is absolute and put through
    `os.path.normpath` (a URL stays as it is).

    Args:
        provider: its name.
        columns: the row's own columns.
        path: absolute, or a URL.
        filename: the one that the row gives, or None if that is the default.
    """
    identity = columns.identity if filename is None else columns.identity | {"filename": filename}
    normal = path if is_url(path) else os.path.normpath(path)
    text = canonical([provider, columns.target, identity, normal])
    return f"{provider}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
