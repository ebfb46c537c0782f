"""Where a ledger is: a SQLite file, or a database of a PostgreSQL server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from bulkup.errors import LedgerError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_POSTGRESQL = re.compile(r"postgres(ql)?:", re.IGNORECASE)
_HOST = r"(?:\[[0-9a-fA-F:.%]*\]|[^\[\]@/?#:,]*)(?::\d*)?"
_PARTS = re.compile(
    rf"postgres(?:ql)?://(?P<user>[^@/?#]*@)?(?P<host>{_HOST}(?:,{_HOST})*)(?P<path>/[^@?#]*)?(?P<rest>[?#].*)?",
    re.IGNORECASE,
)


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
        parts = _PARTS.fullmatch(self.url)
        # an @ behind a ? may end a password that should have been percent-encoded
        if parts is None or (parts["user"] is None and "@" in (parts["rest"] or "")):
            return "the PostgreSQL ledger"
        return f"postgresql://{parts['host']}{parts['path'] or ''}"

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
    if _POSTGRESQL.match(text):
        return Location(None, text)
    scheme = _URL.match(text)
    if scheme is not None:
        raise LedgerError(f"{scheme[1]} ledgers are not supported: name a file, or postgresql://HOST/DATABASE")
    return Location(Path(text))
