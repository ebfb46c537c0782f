"""Which rows a machine sends where several share a manifest by hand (``--shard 3/8``). Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import orjson


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of a manifest.

    Attributes:
        number: from 1 to `count`.
    """

    number: int
    count: int

    def has(self, cohort: str) -> bool:
        """Whether it is the one that sends the rows of a cohort. This rule is a contract, as that of `cohort` is.

        The first 16 hexadecimal digits of the SHA-256 of the cohort in UTF-8, as a number, modulo the number of shards,
        are the shard's number less one.
        """
        digest = hashlib.sha256(cohort.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard_named(text: str) -> Shard:
    """The shard that a user names, such as ``3/8``; raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise ValueError("must be like 3/8, which is the third of eight shards")
    number, count = int(found[1]), int(found[2])
    if not 1 <= number <= count:
        raise ValueError(f"must be one from 1/{count} to {count}/{count}" if count else "must be of one shard or more")
    return Shard(number, count)


class Facts(NamedTuple):
    """What of a row says where it belongs; as in `bulkup.rows.Row`.

    Attributes:
        target: empty, if the row is so bad that it is not known.
    """

    row: int
    provider: str
    target: str
    share: str
    bundled: bool
    filename: str


def cohort(facts: Facts, scattered: Collection[str]) -> str:
    """What a row has in common with the rows that may not be sent by another machine.

    This rule is a contract: machines with other versions of bulkup, and the next run of each, must agree on it. So it
    is made of the row alone, and neither of its place in the manifest nor of where the file lies on one machine. It is
    JSON without spaces, nothing escaped that need not be:

    * ``[provider, target]``, since records and documents are looked for in the list of a container: what another
      machine makes there meanwhile might be taken for this one's. It also keeps groups and inits of several files
      whole.
    * Where the target is no container: the parts of `bulkup.model.Columns.share` behind the provider, and, unless the
      row is bundled, the file name last.
    * ``[row]``, the number, where a bad row's target is not known: nothing of it is sent.

    Args:
        facts: of the row.
        scattered: the providers whose target is no container; see `bulkup.model.Columns.contained`.
    """
    parts: list[object]
    if not facts.target:
        parts = [facts.row]
    elif facts.provider not in scattered:
        parts = [facts.provider, facts.target]
    else:
        parts = orjson.loads(facts.share)
        if not facts.bundled:
            parts.append(facts.filename)
    return orjson.dumps(parts).decode()
