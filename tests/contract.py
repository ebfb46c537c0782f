"""What must become of a row whose request meets a fault: the contract, written without a look at the code.

Sources: DESIGN.md 4 (what a ledger's row says), 5 (exit codes) and 6 (the two levels of retry), and the vendors' guides
for what of theirs may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.matrix import Column, Seen

REFUSED: Final = frozenset({"connection refused"})
"""It never left."""
LOST: Final = frozenset({"reset before the body", "reset in the body", "stall"})
"""It had no effect, but who sent it can't know."""
DONE: Final = frozenset({"answer lost", "truncated answer", "malformed answer"})
"""It had its effect, and who sent it can't know."""
AGAIN: Final = frozenset({"early 503", "408", "429", "429, Retry-After", "500", "502", "503", "504"})
"""An answer that invites to try again."""
DENIED: Final = frozenset({"early 403", "401", "403", "404", "409", "413"})
"""An answer that will not change."""
HARMLESS: Final = frozenset({"keep-alive closed", "events dropped", "events garbled"})
"""It is noticed and made good at once, always."""
SERVER_ERRORS: Final = frozenset({"early 503", "500", "502", "503", "504"})
_NO_URLS: Final = frozenset({"early 503", "503"})
"""LightReach's word for: fall back to v1."""

CODES: Final[Mapping[str, str]] = {
    "connection refused": "unreachable",
    **dict.fromkeys([*LOST, *DONE], "no_answer"),
    "malformed answer": "unreadable_answer",
    **dict.fromkeys(SERVER_ERRORS, "server_error"),
    "401": "unauthorized",
    **dict.fromkeys(["403", "early 403"], "forbidden"),
    "404": "not_found",
    "408": "server_timeout",
    "409": "conflict",
    "413": "too_large",
    **dict.fromkeys(["429", "429, Retry-After"], "rate_limited"),
    "expired URL": "url_expired",
}
"""The ledger's word for a fault, where an API answers."""
STORE_CODES: Final[Mapping[str, str]] = {
    **CODES,
    **dict.fromkeys(DENIED, "store_refused"),
    **dict.fromkeys(["500", "502", "504"], "store_error"),
    **dict.fromkeys(_NO_URLS, "rate_limited"),  # the store says SlowDown
}
"""The same, where an object store answers."""


def expected(column: Column, fault: str, *, always: bool) -> Seen:
    """What must become of the row."""
    if fault == "wrong hash":  # what is at the vendor is not what was sent: the next run brings it again, beside that
        return Seen("failed", "confirm", "hash_mismatch", 1, "completed", 2)
    if fault in HARMLESS:
        return COMPLETED
    return _ROLES[column.role](column, fault, always)


COMPLETED: Final = Seen("completed", None, None, 1, "completed", 1)
"""In the same run, exit code 0."""


def _failed(stage: str, code: str) -> Seen:
    """Nothing is at the vendor; the next run brings it."""
    return Seen("failed", stage, code, 0, "completed", 1)


def _passes(fault: str) -> bool:
    """Whether a fault that happens once is made good by sending the same again, where that is allowed."""
    return fault in REFUSED | LOST | DONE | AGAIN


def _init(column: Column, fault: str, always: bool) -> Seen:  # noqa: FBT001 - as the others
    """A record that may be made twice, since one without bytes is none that anybody sees."""
    if _passes(fault) and not always:
        return COMPLETED
    if column.vendor == "lightreach" and fault in _NO_URLS:
        return COMPLETED  # by v1
    if column.vendor == "alloy" and fault in DONE:
        return COMPLETED  # the description is found in the list, and takes the bytes
    return _failed("init", CODES[fault])


def _noticed(column: Column, fault: str, always: bool) -> Seen:  # noqa: FBT001
    """A request that people would notice twice: only a 429 or a refused connection is repeated."""
    stage = "transfer" if column.title == "v1" else "init"
    inside = 0 if column.title.endswith("for a URL") else 1
    if fault in REFUSED | {"429", "429, Retry-After"} and not always:
        return COMPLETED
    if column.title == "v1" and fault == "malformed answer":
        return COMPLETED  # it was answered well; the form of v1's answer is not published
    if fault in LOST | DONE | SERVER_ERRORS:
        held = inside if fault in DONE else 0
        listed = column.title == "v1" and held  # LightReach lists it for the next run; Auco can be asked by code only
        return Seen("unknown", stage, CODES[fault], held, "completed" if listed else "unknown", held)
    return _failed(stage, CODES[fault])


def _bytes(column: Column, fault: str, always: bool) -> Seen:  # noqa: FBT001
    """Bytes that may be sent twice to the same place."""
    if (_passes(fault) or fault == "expired URL") and not always:
        return COMPLETED
    if fault in DONE:
        return COMPLETED  # the vendor, asked, has them
    return _failed("transfer", (STORE_CODES if column.signed else CODES)[fault])


def _used(_column: Column, fault: str, always: bool) -> Seen:  # noqa: FBT001
    """Bytes for a URL that takes them once, of a process that people know of: neither is repeated."""
    if fault in DONE or (fault in REFUSED and not always):
        return COMPLETED  # Auco, asked by code, has them
    if fault in LOST | SERVER_ERRORS:
        return Seen("unknown", "transfer", STORE_CODES[fault], 0, "unknown", 0)
    return Seen("failed", "transfer", STORE_CODES[fault], 0, "failed", 0)


@dataclass(frozen=True)
class Question:
    """Where a row is left whose question, or change, gets no answer: as ``state``, or ``state stage code``.

    A code ``*`` is the fault's own.

    Args:
        unable: it can't be put now.
        denied: the vendor will not answer.
        stranger: it refuses the credentials; None: as ``unable``.
        missing: it says that there is no such thing; None: as ``denied``.
        patient: that is asked again for a while.
    """

    unable: str
    denied: str
    stranger: str | None = None
    missing: str | None = None
    patient: bool = False


_LOGIN = Question("failed init *", "failed init unauthorized", "failed init unauthorized")
_LOST_INIT = Question("failed init *", "completed", "failed init *")
"""A search for the record of an init whose answer was lost: a list that nobody may read holds up nothing."""
QUESTIONS: Final[Mapping[tuple[str, str], Question]] = {
    ("lightreach", "login"): _LOGIN,
    ("lightreach", "events"): Question("completed", "completed"),  # the job is polled instead
    ("lightreach", "job"): Question("initiated", "unknown confirm *", missing="completed"),  # the list has it
    ("lightreach", "list"): Question("unknown transfer no_answer", "unknown transfer no_answer"),
    ("loanpro", "update"): Question("stored", "failed update *"),
    ("loanpro", "list"): _LOST_INIT,
    ("loanpro", "record"): Question("initiated", "unknown transfer no_answer", missing="completed"),
    ("alloy", "token"): _LOGIN,
    ("alloy", "list"): _LOST_INIT,
    ("kompliant", "get"): Question("stored", "unknown confirm *", patient=True),
    ("kompliant", "requirements"): Question("stored", "failed link *"),
    ("kompliant", "batchAdd"): Question("stored", "failed link *"),
    ("kompliant", "list"): _LOST_INIT,
    ("kompliant", "fulfillments"): Question("stored", "completed"),  # a link that is there already is no error
    ("auco", "status"): Question("unknown transfer no_answer", "unknown transfer no_answer"),
}


def _asks(column: Column, fault: str, always: bool) -> Seen:  # noqa: FBT001
    """A question, or a change that may be made twice."""
    question = QUESTIONS[column.vendor, column.title]
    if _passes(fault) and not always:
        return COMPLETED
    if fault == "401":
        word = question.stranger or question.unable
    elif fault == "404" and question.patient:
        word = question.denied if always else "completed"
    elif fault == "404":
        word = question.missing or question.denied
    else:
        word = question.denied if fault in DENIED else question.unable
    if fault == "malformed answer" and column.title == "update":
        word = "completed"  # its answer says nothing that is not known
    if fault in REFUSED and column.title == "events":
        word = "stored"  # the job can't be polled either
    if word == "completed":
        return COMPLETED
    state, stage, code = word.split() if " " in word else (word, None, None)
    held = 0 if stage == "init" else 1  # bytes were sent before, but for a login and a search
    return Seen(state, stage, CODES[fault] if code == "*" else code, held, "completed", 1)


_ROLES: Final[Mapping[str, Callable[[Column, str, bool], Seen]]] = {
    "asks": _asks,
    "init": _init,
    "noticed": _noticed,
    "bytes": _bytes,
    "used": _used,
}
