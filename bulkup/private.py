"""``--private-names``: what may be told of a row where others read along, in events, logs and complaints.

That is its number, its state, stage and code, the vendor's id of its document, and a name that can't be traced back to
its key without the ledger. The words of vendors, and our own about a file, are withheld as a whole: they may quote
anything in any form. The ledger keeps all of it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from bulkup.events import DocumentEnded, Event, Notice
from bulkup.rows import Complaint
from bulkup.secret import REDACTED

WITHHELD = "withheld (--private-names); the ledger has it"

_on = ContextVar("bulkup_private_names", default=False)
_DIGITS = 32
_QUOTED = re.compile(r"(?<!\w)(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")(?!\w)")


@contextmanager
def logs(*, private: bool) -> Iterator[None]:
    """Have `shown` withhold what this task and those that it starts write to a log."""
    token = _on.set(private)
    try:
        yield
    finally:
        _on.reset(token)


def shown(words: str) -> str:
    """Words that may name a row, as a log has them."""
    return REDACTED if _on.get() else words


class Masks:
    """Takes from an event what names its row.

    Args:
        secret: the ledger's own, see `Ledger.secret`; without it nobody can try which key a name stands for.
        providers: the known ones; what a bad row has in their place is a cell like any other.
    """

    def __init__(self, secret: bytes, providers: Collection[str]) -> None:
        self._secret = secret
        self._providers = providers

    def __call__(self, event: Event) -> Event:
        """The event as others may see it."""
        match event:
            case DocumentEnded():
                error = None if event.error is None else WITHHELD
                provider = event.provider if event.provider in self._providers else REDACTED
                key = self._pseudonym(event.key)
                return event._replace(key=key, provider=provider, filename=REDACTED, error=error)
            case Notice():
                return Notice(event.gist or event.text)
            case _:
                return event

    def _pseudonym(self, key: str) -> str:
        """A name for a row's key, the same in all runs of the ledger."""
        return f"private:{hmac.digest(self._secret, key.encode(), 'sha256').hex()[:_DIGITS]}"


def masking(complain: Callable[[Complaint], None], known: Collection[str]) -> Callable[[Complaint], None]:
    """Tell of complaints without what the manifest's cells hold.

    Args:
        known: names of columns and providers, which may be quoted; a manifest without a header has cells for names.
    """

    def told(quote: re.Match[str]) -> str:
        return quote[0] if quote[0][1:-1] in known else repr(REDACTED)

    def masked(complaint: Complaint) -> None:
        column = complaint.column if complaint.column is None or complaint.column in known else REDACTED
        complain(replace(complaint, text=_QUOTED.sub(told, complaint.text), column=column, value=None))

    return masked
