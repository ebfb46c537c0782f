"""Small documents for all five vendors, made from their numbers, and the stand-ins that say what became of them.

The stand-ins run in a process of their own, so that the client's memory, open files and CPU are its alone.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import multiprocessing
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from bulkup.sandbox import Faults, Sandbox
from tests.vendors import CASES, HELD, Case, Held

_WAYS = ("lightreach", "loanpro-updated", "alloy", "kompliant-linked", "auco", "auco-url")
_BY_ID = {case.id: case for case in CASES}
_VENDORS = 5
_OF_A_CONTAINER = 100  # rows in an account, loan, entity or subject record


def case_of(number: int) -> Case:
    """Which way a row goes: the vendors in turn, every other row of Auco by a signed URL."""
    return _BY_ID[_WAYS[5 if number % (2 * _VENDORS) == 2 * _VENDORS - 1 else number % _VENDORS]]


def row_of(number: int) -> dict[str, str]:
    """A row's columns, its container in particular: real archives have many small ones."""
    row = case_of(number).row(number)
    container = str(number // (_VENDORS * _OF_A_CONTAINER))
    names = {"account_id": "A-", "customer_id": "", "entity_token": "P-", "subject_record_id": "sr_"}
    return row | {name: prefix + container for name, prefix in names.items() if name in row}


def rows_of(way: str, count: int) -> Iterator[dict[str, str]]:
    """Rows that all go one way; see `tests.vendors.CASES`."""
    return (_BY_ID[way].row(number) for number in range(count))


def content_of(number: int) -> bytes:
    """A document of 0.2 to 2 kB that no other row has."""
    dice = random.Random(number)
    return b"%PDF-1.7 " + dice.randbytes(dice.randrange(200, 2000))


def write(folder: Path, rows: Iterable[dict[str, str]]) -> Path:
    """Write a document for each row, and their manifest, which is returned."""
    path = folder / "manifest.csv"
    names = dict.fromkeys(name for case in CASES for number in range(2) for name in case.row(number))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["key", "path", *names], restval="")
        writer.writeheader()
        for number, row in enumerate(rows):
            document = folder / f"{number // 1000}" / f"{number}.pdf"
            document.parent.mkdir(exist_ok=True)
            document.write_bytes(content_of(number))
            writer.writerow(row | {"key": str(number), "path": str(document.relative_to(folder))})
    return path


@dataclass(frozen=True)
class Truth:
    """What the stand-ins hold and saw.

    Attributes:
        missing: documents that they should hold and do not, by vendor.
        twice: documents that they hold more often than rows ask for, by vendor.
        requests: in all.
        spoilt: faults that hit, by ``(vendor, step, kind)``.
        limits: for each limit of the fault plan, how many requests it took and refused in each second.
        breaches: rules of the guides that the client broke, leaked credentials among them.
    """

    missing: Counter[str] = field(default_factory=Counter)
    twice: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    spoilt: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    limits: list[list[list[int]]] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)


class StandIns:
    """The stand-ins of all vendors in another process.

    Attributes:
        environment: by which `bulkup` finds them.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.environment: dict[str, str] = pipe.recv()

    def truth(self, rows: int) -> Truth:
        """What they hold of the first ``rows`` rows."""
        self._pipe.send(rows)
        truth: Truth = self._pipe.recv()
        return truth


@contextmanager
def stand_ins(faults: Faults) -> Iterator[StandIns]:
    """Start them, and end them afterwards."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, faults), daemon=True)
    process.start()
    theirs.close()
    try:
        yield StandIns(ours)
    finally:
        ours.close()  # the other end takes that for the end
        process.join()


def _serve(pipe: Connection, faults: Faults) -> None:
    async def main() -> None:
        async with Sandbox(faults=faults) as sandbox:
            pipe.send(sandbox.environment())
            while (rows := await asyncio.to_thread(_asked, pipe)) is not None:
                pipe.send(_truth(sandbox, rows))

    asyncio.run(main())


def _asked(pipe: Connection) -> int | None:
    try:
        rows: int = pipe.recv()
    except EOFError:
        return None
    return rows


def _truth(sandbox: Sandbox, rows: int) -> Truth:
    expected: dict[str, Held] = {provider: Counter() for provider in HELD}
    for number in range(rows):
        case, row = case_of(number), row_of(number)
        digest = hashlib.sha256(content_of(number)).hexdigest()
        expected[case.provider][case.expected(row, f"{number}.pdf", digest)] += 1
    held = {provider: look(sandbox) for provider, look in HELD.items()}
    return Truth(
        Counter({provider: (expected[provider] - held[provider]).total() for provider in HELD}),
        Counter({provider: (held[provider] - expected[provider]).total() for provider in HELD}),
        sandbox.requests.total(),
        Counter(sandbox.spoilt),
        [limit.seconds for limit in sandbox.limits.values()],
        list(sandbox.breaches),
    )
