"""What all stand-ins share: the clock, the objects, the fault plan, the record, background work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bulkup.sandbox.background import Background
from bulkup.sandbox.dice import Dice
from bulkup.sandbox.objectstore.objects import ObjectStore
from bulkup.sandbox.objectstore.signing import Signer
from bulkup.sandbox.port import Connections
from bulkup.sandbox.record import Record


@dataclass
class Stage:
    """What all stand-ins share.

    Args:
        seed: what fixed credentials are made from.
        signer: makes and checks signed URLs and forms.
        clock: the time now, as a Unix time in seconds.
        store: the objects.
        dice: the fault plan in use; replaced when another plan is set.
        record: what the clients did.
        background: work beside the requests.
        connections: those that requests came over.
        landings: by vendor, who is told each key whose bytes have come.
        url: the server's own URL, once it listens.
        s3: the URL of a bucket of a real S3 server, where one takes the place of the built-in store.
    """

    seed: int
    signer: Signer
    clock: Callable[[], float]
    store: ObjectStore
    dice: Dice
    record: Record = field(default_factory=Record)
    background: Background = field(default_factory=Background)
    connections: Connections = field(default_factory=Connections)
    landings: dict[str, Callable[[str], None]] = field(default_factory=dict)
    url: str = ""
    s3: str | None = None

    @property
    def objects_url(self) -> str:
        """Where objects are, each under its key."""
        return self.s3 or f"{self.url}/store"

    def landed(self, key: str) -> None:
        """The bytes of an object have come."""
        self.landings[key.partition("/")[0]](key)
