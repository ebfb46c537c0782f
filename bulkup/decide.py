"""What follows a failure: pure decisions of the two levels of retry.

The first level sends the same request again, the second makes a new init. A third thing is forbidden: repeating an
init that people would notice. For those only a 429, or a request that surely never arrived, may be repeated.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from bulkup.model import CREDENTIALS_REFUSED, Again, Failure, Traits, Upload

MAX_ROUNDS = 4
"""Inits made for one document in one run, before its URL counts as unusable."""

VENDOR_DOWN = "vendor_down"
"""The code of a failure that says: a server did not answer for so long that nothing more is sent to it now."""

_TOO_MANY = 429
_BAD_REQUEST = 400
_SERVER_ERROR = 500


class Next(StrEnum):
    """What to do with the documents of a failed step."""

    SPLIT = "split"
    AFRESH = "afresh"
    FAIL = "fail"
    UNKNOWN = "unknown"


def init_again(failure: Failure, traits: Traits) -> bool:
    """Whether the same init may be sent again."""
    if failure.again is not Again.SAME:
        return False
    return traits.repeatable_init or failure.status == _TOO_MANY or not failure.sent


def transfer_again(failure: Failure, upload: Upload) -> bool:
    """Whether the same transfer may be sent again.

    A signed URL for one use is used up by any answer, a 429 too; the vendor's own API says with a 429 that it did
    nothing.
    """
    if failure.again is not Again.SAME:
        return False
    return not failure.sent or not upload.single_use or (upload.auth and failure.status == _TOO_MANY)


def wants_fallback(failure: Failure, traits: Traits) -> bool:
    """Whether an init's answer points to the vendor's other flow."""
    return (
        traits.fallback_status is not None and failure.status == traits.fallback_status and failure.retry_after is None
    )


def after_init(failure: Failure, traits: Traits, *, several: bool) -> Next:
    """What follows an init that was not repeated.

    Args:
        several: it carried several documents that need not stay together.
    """
    if several and failure.status == _BAD_REQUEST:
        return Next.SPLIT
    return Next.UNKNOWN if ambiguous(failure) and not traits.repeatable_init else Next.FAIL


def after_transfer(
    failure: Failure,
    traits: Traits,
    *,
    single_use: bool,
    rounds: int,
    reread: bool,
    recorded: bool = True,
    resumed: bool = False,
) -> Next:
    """What follows a transfer that was not repeated.

    Args:
        single_use: its URL or effect can't be repeated.
        rounds: inits made so far, this one included.
        reread: the file changed once before.
        recorded: the vendor answered an init, and so has a record or a job of it.
        resumed: the record is of an earlier init, and may be gone by now.
    """
    if failure.code == "file_changed" and not reread and not recorded:
        return Next.AFRESH  # its body was never completed, so nothing of it is left
    if resumed and failure.code == "not_found":
        return Next.AFRESH
    if single_use or not traits.repeatable_init:
        return Next.UNKNOWN if ambiguous(failure) else Next.FAIL
    if failure.again is not Again.FRESH or rounds >= MAX_ROUNDS or (failure.code == "file_changed" and reread):
        return Next.FAIL
    return Next.AFRESH


def ambiguous(failure: Failure) -> bool:
    """Whether a request may have had its effect all the same: a lost answer, or any 5xx."""
    if not failure.sent or failure.again is Again.FRESH:
        return False
    return (not failure.answered and failure.again is Again.SAME) or (failure.status or 0) >= _SERVER_ERROR


def unsent(login: Failure) -> Failure:
    """Why a call was not sent: its login failed. That says nothing of the call, so its status counts for nothing."""
    refused = login.answered and login.again is not Again.SAME  # then it is the vendor's word on all calls
    code = "unauthorized" if refused else login.code
    return replace(login, code=code, text=f"login: {login.text}", sent=refused, status=None)


def slow_down(failure: Failure) -> bool:
    """Whether a server says that requests follow each other too fast."""
    return failure.sent and failure.code == "rate_limited"


def stops_lane(failure: Failure, patience: float) -> bool:
    """Whether every other row of this vendor would fail alike: wrong credentials, nobody there, or told to stay away.

    Args:
        patience: how long one step may be retried, in seconds.
    """
    if failure.code in CREDENTIALS_REFUSED | {"unreachable", "tls_failed", VENDOR_DOWN}:
        return True
    return failure.retry_after is not None and failure.retry_after > patience


def stays_pending(failure: Failure, patience: float) -> bool:
    """Whether a row stays as it is: nothing of it left, and what was in the way is of no account for the row.

    Args:
        patience: how long one step may be retried, in seconds.
    """
    return not failure.sent and failure.again is Again.NEVER and stops_lane(failure, patience)
