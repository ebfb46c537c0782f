"""Opening a ledger whose rows are those of the known providers."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bulkup import manifest
from bulkup.ledger import Ledger
from bulkup.location import Location, located
from bulkup.model import Columns
from bulkup.providers import COLUMNS


def parse(provider: str, cells: Mapping[str, object]) -> Columns:
    """A provider's columns of stored cells."""
    return manifest.parse(COLUMNS, provider, cells)


def open_ledger(place: str | os.PathLike[str] | Location | None, *, exclusive: bool = True) -> Ledger:
    """The ledger in a file, or at a URL; see `Ledger`."""
    return Ledger(None if place is None else located(place), parse=parse, exclusive=exclusive)
