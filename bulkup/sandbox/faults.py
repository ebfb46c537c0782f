"""The fault plan: which requests go wrong, and how. Pure data, loaded from JSON; `bulkup.sandbox.dice` decides by it.

Kinds that spoil one request (``step`` names the request; ``*`` is any to which the kind applies):

==================  ===================================================================================================
``latency``         the effect takes place, the answer comes ``seconds`` later (a stream: starts later)
``status``          answers ``status`` (with ``retry_after``, ``message``) after the body was read; no effect
``limit``           answers ``status`` (429) as ``status`` does, to what goes beyond ``per_second`` requests; they are
                    counted by ``window``: a token ``bucket`` of ``burst`` (1), a ``fixed`` or a ``sliding`` second
``early``           answers ``status`` before the body is read; after ``seconds`` (0.2) the connection is closed
``reset_before``    the connection is reset before the body is read
``reset_mid``       reset after ``at_byte`` bytes of the body (its half); without a body: of the answer's body
``reset_after``     the effect takes place, then the connection is reset without an answer
``stall``           after ``at_byte`` bytes (0) nothing is read or answered for ``seconds`` (3600), then a reset. With
                    ``events`` on a stream: silence, not even heartbeats, after that many events
``truncate``        the effect takes place, the answer ends after ``at_byte`` bytes of its body (its half)
``malformed``       the effect takes place, the answer is a success whose JSON is broken
``close_idle``      after a good answer the connection is closed, ``seconds`` (0) later, without saying so
``close_kept``      a request over a kept connection finds it closed; one over a new connection is left alone
``close_port``      after a good answer nobody listens for ``seconds`` (1): connections are refused, none is kept
``drop_stream``     the stream is cut after ``events`` events (1)
``garbage_stream``  after ``events`` events (0) the stream carries nonsense, then goes on
==================  ===================================================================================================

Kinds that spoil what comes of an upload, drawn once for each file (``expired_url``, ``wrong_hash``) or job:
``expired_url`` (the store takes the URL for expired, whatever ``expiresAt`` says), ``wrong_hash`` (another MD5 is
reported), ``job_failed`` (with ``message``), ``job_never`` (the bytes land and nothing ever comes of it).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bulkup.sandbox.limits import Window

Kind = Literal[
    "latency",
    "status",
    "limit",
    "early",
    "reset_before",
    "reset_mid",
    "reset_after",
    "stall",
    "truncate",
    "malformed",
    "close_idle",
    "close_kept",
    "close_port",
    "drop_stream",
    "garbage_stream",
    "expired_url",
    "wrong_hash",
    "job_failed",
    "job_never",
]

ANY: Final = "*"
STREAM: Final = "stream"

_REQUIRED: Final[Mapping[Kind, str]] = {
    "latency": "seconds",
    "status": "status",
    "early": "status",
    "limit": "per_second",
}
_ALLOWED: Final[Mapping[Kind, frozenset[str]]] = {
    "latency": frozenset({"seconds"}),
    "status": frozenset({"status", "retry_after", "message"}),
    "limit": frozenset({"status", "retry_after", "message", "per_second", "burst", "window"}),
    "early": frozenset({"status", "retry_after", "message", "seconds"}),
    "reset_mid": frozenset({"at_byte"}),
    "stall": frozenset({"seconds", "at_byte", "events"}),
    "truncate": frozenset({"at_byte"}),
    "close_idle": frozenset({"seconds"}),
    "close_port": frozenset({"seconds"}),
    "drop_stream": frozenset({"events"}),
    "garbage_stream": frozenset({"events"}),
    "job_failed": frozenset({"message"}),
}
_DETAILS: Final = ("status", "retry_after", "seconds", "at_byte", "events", "message", "per_second", "burst", "window")
_OUTCOME_STEPS: Final[Mapping[Kind, frozenset[str]]] = {
    "expired_url": frozenset({"init", "put"}),
    "wrong_hash": frozenset({"init", "put", "job"}),
    "job_failed": frozenset({"init", "job"}),
    "job_never": frozenset({"init", "put", "job"}),
}
_STREAM_ONLY: Final[frozenset[Kind]] = frozenset({"drop_stream", "garbage_stream"})
_NEVER_STREAM: Final[frozenset[Kind]] = frozenset(
    {"early", "reset_mid", "reset_after", "truncate", "malformed", "close_idle", "close_port"}
)


class Rule(BaseModel):
    """One way in which some requests go wrong; without ``rate``, ``times`` and ``after``: all that it applies to.

    Args:
        kind: what goes wrong; see the module's table, also for which of the last nine arguments it takes.
        vendor: the vendor's name, ``*`` for any.
        step: the request's name, such as ``init`` or ``put``; ``*`` for any.
        rate: the share of requests, 0 to 1.
        times: at most this many.
        after: leave the first so many alone.
        match: only requests whose account, path or file name contains this.
        status: the HTTP status to answer.
        retry_after: seconds, sent as ``Retry-After``.
        seconds: how long, in seconds.
        at_byte: after how many bytes.
        events: after how many events of a stream.
        message: the words of the error.
        per_second: requests that are taken; all that the rule applies to are counted together.
        burst: tokens that a bucket holds.
        window: how requests are counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    vendor: str = ANY
    step: str = ANY
    rate: float | None = Field(default=None, ge=0, le=1)
    times: int | None = Field(default=None, ge=1)
    after: int = Field(default=0, ge=0)
    match: str | None = Field(default=None, min_length=1)
    status: int | None = Field(default=None, ge=200, le=599)
    retry_after: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)
    at_byte: int | None = Field(default=None, ge=0)
    events: int | None = Field(default=None, ge=0)
    message: str | None = None
    per_second: float | None = Field(default=None, gt=0)
    burst: float | None = Field(default=None, ge=1)
    window: Window | None = None

    @model_validator(mode="after")
    def _details_fit(self) -> Self:
        given = {name for name in _DETAILS if getattr(self, name) is not None}
        if extra := given - _ALLOWED.get(self.kind, frozenset()):
            raise ValueError(f"{self.kind} takes no {', '.join(sorted(extra))}")
        required = _REQUIRED.get(self.kind)
        if required is not None and required not in given:
            raise ValueError(f"{self.kind} needs {required}")
        if self.burst is not None and self.window not in (None, "bucket"):
            raise ValueError(f"a {self.window} window takes no burst")
        if self.step != ANY and not self._can_spoil(self.step):
            raise ValueError(f"{self.kind} does not apply to the step {self.step!r}")
        return self

    @property
    def is_outcome(self) -> bool:
        """Whether the rule spoils what comes of an upload, not one request."""
        return self.kind in _OUTCOME_STEPS

    def applies_to(self, vendor: str, step: str) -> bool:
        """Whether the rule can spoil this request."""
        return (
            not self.is_outcome and self.vendor in (ANY, vendor) and self.step in (ANY, step) and self._can_spoil(step)
        )

    def _can_spoil(self, step: str) -> bool:
        if self.is_outcome:
            return step in _OUTCOME_STEPS[self.kind]
        return self.kind not in (_NEVER_STREAM if step == STREAM else _STREAM_ONLY)


class Faults(BaseModel):
    """A seeded plan: the same seed and rules spoil the same share of requests, however they interleave.

    Args:
        seed: decides which requests a ``rate`` hits; the sandbox's tokens are made from the first plan's seed too.
        rules: the first that hits a request spoils it; ``latency`` adds up and lets the next rule have its turn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, text: bytes | str, origin: str = "fault plan") -> Faults:
        """Read a plan from JSON.

        Raises:
            ValueError: one sentence that names ``origin``, the place in the plan and what is wrong there.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{origin}: {place + ': ' if place else ''}{first['msg']}") from None

    @classmethod
    def load(cls, path: Path) -> Faults:
        """Read a plan from a JSON file.

        Raises:
            ValueError: as `parse`, also when the file can't be read.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        return cls.parse(text, str(path))

    def check_names(self, steps: Mapping[str, Collection[str]]) -> None:
        """See that each rule can ever hit.

        Args:
            steps: the step names of each vendor.

        Raises:
            ValueError: a rule names a vendor or a step that isn't there.
        """
        for number, rule in enumerate(self.rules):
            if rule.vendor not in (ANY, *steps):
                raise ValueError(f"rules.{number}.vendor: {rule.vendor!r} is none of {', '.join(sorted(steps))}")
            known = {name for vendor, names in steps.items() if rule.vendor in (ANY, vendor) for name in names}
            if rule.step not in (ANY, *known):
                raise ValueError(f"rules.{number}.step: {rule.step!r} is none of {', '.join(sorted(known))}")
