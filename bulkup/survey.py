"""A dry run: what a run would do, without sending anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bulkup.ledger import Ledger
from bulkup.model import State
from bulkup.providers import PROVIDERS
from bulkup.sift import Sifter
from bulkup.sources import Sources
from bulkup.terms import Terms

_PAGE = 2000


@dataclass(slots=True)
class Survey:
    """What a run would do.

    Attributes:
        send, bytes, inits: documents, their bytes, and the inits that would carry them.
        missing: documents to be sent whose file is not there.
        unfinished: rows that an earlier run left half-way, which the vendor would be asked about.
        invalid: rows that can't be sent, and rows that failed in a way that no run repeats by itself.
        shard: the part of the manifest that all of this is about, such as ``3/8``; None: all of it.
    """

    rows: int
    send: int = 0
    bytes: int = 0
    inits: int = 0
    skip: int = 0
    refuse: int = 0
    missing: int = 0
    unfinished: int = 0
    invalid: int = 0
    shard: str | None = None

    def facts(self) -> dict[str, object]:
        """The fields of the ``plan`` event."""
        return asdict(self)


def survey(ledger: Ledger, run_id: str, rows: int, terms: Terms) -> Survey:
    """What a run over the rows admitted as ``run_id`` would do; blocks, sends nothing."""
    found = Survey(rows, shard=terms.shard_name)
    sources = Sources(terms.buckets, terms.root)
    for name in ledger.providers(run_id):
        sifter = Sifter(PROVIDERS[name].traits.max_batch, terms.on_change, lambda: False, sources)
        last = None
        while True:
            page = ledger.candidates(run_id, name, last, _PAGE)
            sifted = sifter.add(page)
            found.send += sum(len(batch.documents) for batch in sifted.batches)
            found.bytes += sum(batch.size for batch in sifted.batches)
            found.inits += len(sifted.batches)
            found.skip += len(sifted.skipped)
            found.refuse += len(sifted.refused)
            found.missing += sifted.missing
            if not page:
                break
            last = page[-1]
    states = ledger.states(run_id)
    found.unfinished = sum(states.get(state, 0) for state in (State.INITIATED, State.STORED, State.UNKNOWN))
    found.invalid = states.get(State.FAILED, 0)
    return found
