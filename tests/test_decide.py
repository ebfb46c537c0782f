"""What follows a failure."""

from __future__ import annotations

from itertools import product

import pytest

from bulkup.decide import (
    MAX_ROUNDS,
    Next,
    after_init,
    after_transfer,
    ambiguous,
    init_again,
    stops_lane,
    transfer_again,
    wants_fallback,
)
from bulkup.model import Again, Failure, Traits, Upload
from bulkup.secret import SignedUrl

REPEATABLE = Traits(repeatable_init=True, fallback_status=503)
ONCE = Traits(repeatable_init=False)

REFUSED = Failure("unreachable", "", Again.SAME, sent=False)
LOST = Failure("no_answer", "", Again.SAME)
UNREADABLE = Failure("unreadable_answer", "", Again.SAME)
RATE = Failure("rate_limited", "", Again.SAME, answered=True, status=429)
BUSY = Failure("server_error", "", Again.SAME, answered=True, status=503)
NOT_IMPLEMENTED = Failure("server_error", "", Again.NEVER, answered=True, status=501)
BAD = Failure("rejected", "", Again.NEVER, answered=True, status=400)
FORBIDDEN = Failure("forbidden", "", Again.NEVER, answered=True, status=403)
EXPIRED = Failure("url_expired", "", Again.FRESH, answered=True, status=403)
EXPIRED_503 = Failure("url_expired", "", Again.FRESH, answered=True, status=503)
CHANGED = Failure("file_changed", "", Again.FRESH)
UNREADABLE_FILE = Failure("file_unreadable", "", Again.NEVER)
TLS = Failure("tls_failed", "", Again.NEVER, sent=False)
ALL = (REFUSED, LOST, UNREADABLE, RATE, BUSY, NOT_IMPLEMENTED, BAD, FORBIDDEN, EXPIRED, CHANGED, UNREADABLE_FILE, TLS)


def test_a_single_use_url_is_used_up_by_any_answer() -> None:
    """Only a request that never arrived is sent to it again; the vendor's own API may also have said 429."""
    signed = Upload("PUT", SignedUrl("https://h/o"), (0,), single_use=True)
    repeated = [REFUSED, LOST, UNREADABLE, RATE, BUSY]
    assert [f for f in ALL if transfer_again(f, signed)] == [REFUSED]
    assert [f for f in ALL if transfer_again(f, signed._replace(auth=True))] == [REFUSED, RATE]
    assert [f for f in ALL if transfer_again(f, signed._replace(single_use=False))] == repeated


def test_repeatable_init_is_repeated() -> None:
    """What may be sent again is, and nothing else: a permanent refusal never."""
    assert [f for f in ALL if init_again(f, REPEATABLE)] == [REFUSED, LOST, UNREADABLE, RATE, BUSY]


def test_init_that_people_notice_is_not_repeated() -> None:
    """Only a 429, or a request that surely never arrived, may be followed by the same init."""
    assert [f for f in ALL if init_again(f, ONCE)] == [REFUSED, RATE]


def test_ambiguous() -> None:
    """A lost answer and any 5xx leave open what became of the request; nothing else does."""
    assert [f for f in (*ALL, EXPIRED_503) if ambiguous(f)] == [LOST, UNREADABLE, BUSY, NOT_IMPLEMENTED]


def test_after_init() -> None:
    """A lost init that people notice makes its row unknown; any other fails it."""
    assert {f.code for f in ALL if after_init(f, REPEATABLE, several=False) is not Next.FAIL} == set()
    unknown = [f for f in ALL if after_init(f, ONCE, several=False) is Next.UNKNOWN]
    assert unknown == [LOST, UNREADABLE, BUSY, NOT_IMPLEMENTED]


def test_refused_batch_is_split() -> None:
    """A 400 to several files takes only the bad one out; other answers, or a single file, are not split."""
    assert after_init(BAD, REPEATABLE, several=True) is Next.SPLIT
    assert after_init(BAD, REPEATABLE, several=False) is Next.FAIL
    assert all(after_init(f, REPEATABLE, several=True) is Next.FAIL for f in ALL if f is not BAD)


def test_fallback() -> None:
    """Only the named status without Retry-After points to the other flow."""
    later = Failure("server_error", "", Again.SAME, answered=True, status=503, retry_after=1.0)
    assert wants_fallback(BUSY, REPEATABLE)
    assert not any(wants_fallback(f, REPEATABLE) for f in (later, RATE, LOST, BAD, NOT_IMPLEMENTED))
    assert not wants_fallback(BUSY, ONCE)


@pytest.mark.parametrize("failure", ALL, ids=lambda failure: f"{failure.code}-{failure.status}")
def test_after_transfer_of_a_repeatable_flow(failure: Failure) -> None:
    """An expired URL and a file that changed get another round; the rest fails, none is unknown."""
    follows = after_transfer(failure, REPEATABLE, single_use=False, rounds=1, reread=False)
    assert follows is (Next.AFRESH if failure in (EXPIRED, CHANGED) else Next.FAIL)


def test_rounds_end() -> None:
    """Rounds are limited, and a file that changes a second time fails."""
    for rounds in range(1, MAX_ROUNDS):
        assert after_transfer(EXPIRED, REPEATABLE, single_use=False, rounds=rounds, reread=True) is Next.AFRESH
        assert after_transfer(CHANGED, REPEATABLE, single_use=False, rounds=rounds, reread=True) is Next.FAIL
    assert after_transfer(EXPIRED, REPEATABLE, single_use=False, rounds=MAX_ROUNDS, reread=False) is Next.FAIL


@pytest.mark.parametrize(("traits", "single_use"), [(ONCE, False), (ONCE, True), (REPEATABLE, True)])
def test_after_transfer_that_is_not_repeated(traits: Traits, *, single_use: bool) -> None:
    """A lost answer or a 5xx is unknown; a refusal, an expired URL and bytes that never left fail; no new round."""
    for failure, rounds, reread in product(ALL, (1, 9), (False, True)):
        follows = after_transfer(failure, traits, single_use=single_use, rounds=rounds, reread=reread)
        lost = failure in (LOST, UNREADABLE, BUSY, NOT_IMPLEMENTED)
        assert follows is (Next.UNKNOWN if lost else Next.FAIL), failure


def test_what_stops_a_lane() -> None:
    """Wrong credentials, nobody there, or a longer Retry-After than our patience; one row's refusal stops nothing."""
    unauthorized = Failure("unauthorized", "", status=401, answered=True)
    assert [f for f in (*ALL, unauthorized) if stops_lane(f, 60)] == [REFUSED, TLS, unauthorized]
    waits = [Failure("rate_limited", "", Again.SAME, status=429, retry_after=after) for after in (59.0, 60.0, 61.0)]
    assert [stops_lane(f, 60) for f in waits] == [False, False, True]
