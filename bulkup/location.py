"""Where a ledger is: a SQLite file, or a database of a PostgreSQL server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bulkup.errors import LedgerError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_POSTGRESQL = frozenset({"postgresql", "postgres"})


@dataclass(frozen=True, slots=True)
class Location:
    """Where a ledger is. Made by `located`.

    Attributes:
        file: of SQLite; None with a URL.
        url: of PostgreSQL, as libpq understands it; it may hold a password, so it is hidden.
    """

    file: Path | None
    url: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What users are told it is called."""
        if self.url is None:
            return str(self.file)
        parts = urlsplit(self.url)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def missing(self) -> bool:
        """It is a file that does not exist; of a server only a connection can tell."""
        return self.file is not None and not self.file.exists()

    @property
    def where(self) -> str:
        """Where users find it: the name, of a file the absolute path."""
        return self.name if self.file is None else str(self.file.resolve())

    def __str__(self) -> str:
        return self.name


def located(given: str | os.PathLike[str] | Location) -> Location:
    """The ledger that a user names; raises `LedgerError`."""
    if isinstance(given, Location):
        return given
    text = os.fspath(given)
    scheme = _URL.match(text)
    if scheme is None:
        return Location(Path(text))
    if scheme[1].lower() not in _POSTGRESQL:
        raise LedgerError(f"{scheme[1]} ledgers are not supported: name a file, or postgresql://HOST/DATABASE")
    try:
        urlsplit(text)
    except ValueError:
        raise LedgerError("the ledger's URL makes no sense: it must be like postgresql://HOST/DATABASE") from None
    return Location(None, text)
