"""Decides, by a fault plan, which request is spoilt: the same seed gives the same decisions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

from bulkup.sandbox.faults import Faults, Kind, Rule
from bulkup.sandbox.limits import Limit

_RANGE = 2**64


class Dice:
    """A fault plan in use: it counts what each rule saw and did.

    Args:
        faults: the plan.
        clock: the time now, as a Unix time in seconds.

    Attributes:
        limits: of the rules that limit requests, by the rule's number in the plan.
        spoilt: how often each kind of fault hit, by ``(vendor, step, kind)``: the kind with its status where it has
            one, such as ``status 429``; a fault of a file or job has its kind for the step too.
    """

    def __init__(self, faults: Faults, clock: Callable[[], float] = time.time) -> None:
        self.faults = faults
        self.limits = {
            number: Limit(rule.window or "bucket", rule.per_second, rule.burst or 1)
            for number, rule in enumerate(faults.rules)
            if rule.per_second is not None
        }
        self.spoilt: Counter[tuple[str, str, str]] = Counter()
        self._clock = clock
        self._seen: Counter[int] = Counter()
        self._hits: Counter[int] = Counter()
        self._turns: Counter[tuple[int, str, str]] = Counter()

    def wants_subject(self, vendor: str, step: str) -> bool:
        """Whether a rule for this request looks at the account, path or file name."""
        return any(rule.match is not None and rule.applies_to(vendor, step) for rule in self.faults.rules)

    def request(self, vendor: str, step: str, subject: str, *, kept: bool = False) -> tuple[float, Rule | None]:
        """Draw for one request.

        Args:
            vendor: the vendor's name.
            step: the request's name.
            subject: the text in which a rule's ``match`` is looked for.
            kept: it comes over a connection that had requests before.

        Returns:
            The seconds by which the answer is late, and the rule that spoils the request, if any.
        """
        delay, spoiler = 0.0, None
        for number, rule in enumerate(self.faults.rules):
            if rule.kind == "close_kept" and not kept:
                continue
            if spoiler is None and rule.applies_to(vendor, step) and self._hit(number, rule, (vendor, step), subject):
                if rule.kind == "latency":
                    delay += rule.seconds or 0
                else:
                    spoiler = rule
        return delay, spoiler

    def outcome(self, kind: Kind, vendor: str, subject: str) -> Rule | None:
        """Draw for what comes of one file or one job; arguments as in `request`."""
        for number, rule in enumerate(self.faults.rules):
            fits = rule.kind == kind and rule.vendor in ("*", vendor)
            if fits and self._hit(number, rule, (vendor, kind), subject):
                return rule
        return None

    def _hit(self, number: int, rule: Rule, step: tuple[str, str], subject: str) -> bool:
        if rule.match is not None and rule.match not in subject:
            return False
        key = (number, *step)
        turn = self._turns[key]
        self._turns[key] += 1
        self._seen[number] += 1
        if self._seen[number] <= rule.after or (rule.times is not None and self._hits[number] >= rule.times):
            return False
        if rule.rate is not None:
            # counted per step: how the steps interleave does not change what is drawn
            digest = blake2b(f"{self.faults.seed}:{key}:{turn}".encode(), digest_size=8).digest()
            if int.from_bytes(digest, "big") / _RANGE >= rule.rate:
                return False
        if number in self.limits and self.limits[number].takes(self._clock()):
            return False
        self._hits[number] += 1
        self.spoilt[*step, rule.kind if rule.status is None else f"{rule.kind} {rule.status}"] += 1
        return True
