"""What all stand-ins share: the clock, the objects, the fault plan, the record, background work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bulkup.sandbox.background import Background
from bulkup.sandbox.dice import Dice
from bulkup.sandbox.objectstore.objects import ObjectStore
from bulkup.sandbox.record import Record


@dataclass
class Stage:
    """What all stand-ins share.

    Args:
        seed: what fixed credentials are made from.
        secret: the key of signed URLs.
        clock: the time now, as a Unix time in seconds.
        store: the objects.
        dice: the fault plan in use; replaced when another plan is set.
        record: what the clients did.
        background: work beside the requests.
        url: the server's own URL, once it listens.
    """

    seed: int
    secret: bytes
    clock: Callable[[], float]
    store: ObjectStore
    dice: Dice
    record: Record = field(default_factory=Record)
    background: Background = field(default_factory=Background)
    url: str = ""
