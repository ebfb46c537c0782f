"""`--memory`: how many bytes of bodies a run holds at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import bulkup
from bulkup.budget import size
from bulkup.events import Event, Transferred
from bulkup.memory import Memory
from bulkup.sandbox import Faults, Rule, Sandbox
from tests.conftest import Archive


async def test_never_more_than_there_is() -> None:
    """Whatever is asked for, what is held stays within the budget, and everybody gets a turn."""
    memory, held, most, served = Memory(100), 0, 0, []

    async def use(number: int, wanted: int) -> None:
        nonlocal held, most
        got = await memory.take(wanted)
        held += got
        most = max(most, held)
        served.append(number)
        await asyncio.sleep(0)
        held -= got
        memory.give(got)

    await asyncio.gather(*(use(number, 7 * number % 150) for number in range(100)))
    assert (held, len(served)) == (0, 100)
    assert most <= 100


async def test_a_large_wish_is_not_passed_by() -> None:
    """Who came later waits behind it, though there would be room."""
    memory, order = Memory(10), list[str]()

    async def use(name: str, wanted: int) -> None:
        got = await memory.take(wanted)
        order.append(name)
        await asyncio.sleep(0)
        memory.give(got)

    await asyncio.gather(use("first", 6), use("large", 10), use("small", 1))
    assert order == ["first", "large", "small"]


async def test_who_gives_up_leaves_nothing_taken() -> None:
    """A wait that is cancelled, before or after its turn came, leaves the budget whole."""
    memory = Memory(10)

    async def use() -> None:
        memory.give(await memory.take(10))

    for turn_came in (False, True):
        await memory.take(10)
        waiting = asyncio.ensure_future(use())
        behind = asyncio.ensure_future(use())
        await asyncio.sleep(0)
        if turn_came:
            memory.give(10)
            waiting.cancel()
        else:
            waiting.cancel()
            memory.give(10)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(behind, 1)
        await asyncio.wait_for(use(), 1)


@pytest.mark.parametrize(
    ("text", "found"), [("1000", 1000), ("64KiB", 65536), ("256MiB", 256 << 20), ("1GiB", 1 << 30), ("2MB", 2_000_000)]
)
def test_sizes(text: str, found: int) -> None:
    """Bytes, or with a unit."""
    assert size(text) == found


@pytest.mark.parametrize("text", ["", "much", "-1", "1.5MiB", "1TB", "MiB"])
def test_sizes_that_make_no_sense(text: str) -> None:
    """Anything else is an error that says what would be right."""
    with pytest.raises(ValueError, match="such as 256MiB"):
        size(text)


async def test_a_run_holds_no_more(archive: Archive) -> None:
    """With room for two small files, no more than two are announced and not sent yet, and all arrive."""
    for number in range(30):
        archive.add(f"{number}.pdf", bytes([number]) * 100_000, external_reference=str(number))
    slow = Faults(rules=(Rule(kind="latency", step="put", seconds=0.02),))
    under_way: list[int] = []
    async with Sandbox(faults=slow) as sandbox:

        def told(event: Event) -> None:
            if isinstance(event, Transferred):
                under_way.append(sandbox.requests["lightreach", "init"] - len(under_way))

        given: dict[str, Any] = {
            "provider": "lightreach",
            "environment": sandbox.environment(),
            "ledger": archive.ledger,
        }
        summary = await bulkup.upload(archive.manifest(), on_event=told, memory="200kB", adaptive=False, **given)
        assert (summary.completed, summary.exit_code, len(under_way)) == (30, 0, 30)
        assert max(under_way) <= 2
        assert not sandbox.breaches
