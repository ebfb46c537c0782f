"""URLs that a manifest may name: what they stand for, what is wrong with them, what of them may be shown. Pure."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote, unquote, urlsplit

from bulkup.secret import REDACTED, is_plain_loopback

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKETS = frozenset({"s3", "gs", "az"})
_HTTP = frozenset({"http", "https"})
_BUCKET_NAME = re.compile(r"[A-Za-z0-9$][A-Za-z0-9$._-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_NAMES = frozenset({"", ".", ".."})
_SAFE = "!$&'()*+,;=:@~"  # besides letters, digits, - . _ what a URL's path has as it is (RFC 3986, 3.3)


def is_url(path: str) -> bool:
    """Whether a path names something that is not a file of this machine."""
    return path[:1] != "/" and _URL.match(path) is not None


def is_http(url: str) -> bool:
    """Whether it is an address of the web, and not of a bucket."""
    return _scheme(url) in _HTTP


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def url_problem(url: str) -> str | None:
    """Why an object can't be read by this URL; None if it may be tried.

    A query or a user's name may be what opens it to anybody who has it. Such a URL would have to stand in the ledger,
    so it is refused.
    """
    scheme, rest = _scheme(url), url.partition("://")[2]
    root, _, key = rest.partition("/")
    if scheme in _BUCKETS:
        if not _BUCKET_NAME.fullmatch(root):
            return f"must name a bucket and a key, such as {scheme}://bucket/key"
    elif scheme not in _HTTP:
        return f"is a {scheme} URL, and only s3, gs, az and https are read"
    elif problem := _web_problem(url):
        return problem
    else:
        key = unquote(key, errors="surrogateescape")
    if not _NO_NAMES.isdisjoint(key.split("/")):
        return "has an empty part, '.' or '..' in it, which no object store can be asked for"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return "has control characters in it" if _CONTROL.search(key) else None


def _web_problem(url: str) -> str | None:
    if "?" in url or "#" in url:
        return "has a query, which may be a signature and would stand in the ledger: name the object itself, s3://bucket/key"
    try:
        parts = urlsplit(url)
        good = parts.hostname and parts.port != 0
    except ValueError:
        return "makes no sense as a URL"
    if "@" in parts.netloc:
        return "must not hold credentials"
    if not good:
        return "makes no sense as a URL"
    if parts.scheme == "http" and not is_plain_loopback(url):
        return "must begin with https://: documents come by plain http from this machine only"
    return "has an encoded slash in it" if "%2f" in parts.path.lower() else None


def split(url: str) -> tuple[str, str]:
    """The store that a good URL is of, and what the store is asked for."""
    scheme, rest = _scheme(url), url.partition("://")[2]
    root, _, key = rest.partition("/")
    return f"{scheme}://{root}", unquote(key) if scheme in _HTTP else key


def joined(folder: str, path: str) -> str:
    """The URL of a path that is relative to a folder's URL, without ``.`` and ``..``; it may be a bad one."""
    root, _, inner = folder.partition("://")[2].partition("/")
    if _scheme(folder) in _HTTP:
        path = quote(path, safe=f"/{_SAFE}", errors="surrogateescape")
    return f"{_scheme(folder)}://{root}/{posixpath.normpath(posixpath.join(inner, path))}"


def shown(path: str) -> str:
    """A path or URL without what may open the object: user, password, query."""
    found = _URL.match(path)
    if found is None:
        return path
    rest = path[found.end() :]
    if found[1].lower() not in _BUCKETS:
        plain = re.split(r"[?#]", rest, maxsplit=1)[0]
        rest = plain if plain == rest else f"{plain}?{REDACTED}"
    root, slash, key = rest.partition("/")
    return f"{found[0]}{root.rpartition('@')[2]}{slash}{key}"
