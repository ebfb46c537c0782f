"""Where a row's file is, what the vendor is told it is called, and the key a row has by default."""

from __future__ import annotations

import hashlib
import os.path
import re
from collections.abc import Mapping
from urllib.parse import unquote

import orjson

from bulkup.urls import is_http, is_url, joined, url_problem

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FOLDERS = frozenset({"", ".", ".."})


def located(given: str, folder: str) -> tuple[str, str]:
    """The absolute path (or URL) of a row's path, and its last part, which is the filename by default.

    Symbolic links and ``..`` stay; in the last part of a URL percent-encoding is undone. In a manifest that is an
    object itself, a relative path is relative to that object's folder, and ``..`` goes.
    """
    if given[:1] == "/":
        return given, given.rpartition("/")[2]
    if not is_url(given):
        path = joined(folder, given) if is_url(folder) else os.path.join(folder, given)  # noqa: PTH118  # pathlib takes five times as long
        return path, given.rpartition("/")[2]
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
    if given[:1] != "/" and given.lower().startswith("file://"):
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
    return _canonical(value).decode()


def _canonical(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def derived_key(provider: str, target: str, identity: Mapping[str, str], path: str, filename: str | None) -> str:
    """The stable identity of a row that gives no key. This rule is a contract: ledgers are asked by it for ever.

    It is the provider, a colon, and the first 32 hexadecimal digits of the SHA-256 of
    ``[provider, target, identity, path]`` as `canonical` JSON in UTF-8, where `identity` is that of the columns with
    ``filename`` added if the row gives one that is not the default, and `path` is absolute and put through
    `os.path.normpath` (a URL stays as it is).

    Args:
        provider: its name.
        target, identity: those of the row's `Columns`.
        path: absolute, or a URL.
        filename: the one that the row gives, or None if that is the default.
    """
    if filename is not None:
        identity = {**identity, "filename": filename}
    normal = path if is_url(path) else os.path.normpath(path)
    digest = hashlib.sha256(_canonical([provider, target, identity, normal]))
    return f"{provider}:{digest.hexdigest()[:32]}"
