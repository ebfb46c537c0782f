"""The fault matrix: which request of a vendor's flow meets which fault, and what comes of it.

A cell is carried out in two ways. *Once*: one request of two rows' meets the fault. *Always*: every such request of one
row does, for a whole run. Either is followed by a run without faults, over the same ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from bulkup.sandbox import Faults, LightReachOptions, Rule, Sandbox
from tests.conftest import Archive, sha256
from tests.vendors import CASES, Case, Held

Role = Literal["asks", "init", "noticed", "bytes", "used"]
"""What a request does: ask (or change) something, make a record, make one that people notice, move bytes, or move them
to a URL for one use."""


@dataclass(frozen=True, eq=False)
class Column:
    """One request of one vendor's flow.

    Args:
        title: how the table calls it.
        case: the flow that makes it.
        step: its name in the sandbox.
        role: what it does.
        after: the step that is answered just before it; None: it is the run's first request.
        nth: the how manieth answer of that step it is.
        streamed: its answer is a stream.
        signed: it goes to a signed URL.
        hashed: its answer reports the file's hash.
        polled: it is made until the vendor's job ends.
        earlier: faults of a run before, which leave a row that this request is about.
        left: how they leave it.
        patience: for how long that run tries again, in seconds.
        note: what that run is, in words.
        cells: more columns of the manifest's rows.
    """

    title: str
    case: Case
    step: str
    role: Role
    after: str | None = None
    nth: int = 1
    streamed: bool = False
    signed: bool = False
    hashed: bool = False
    polled: bool = False
    earlier: tuple[Rule, ...] = ()
    left: str = ""
    patience: float = 0
    note: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)

    @property
    def vendor(self) -> str:
        """Whose it is."""
        return self.case.provider


def _lost(step: str) -> Rule:
    return Rule(kind="reset_after", step=step)


def _down(step: str) -> Rule:
    return Rule(kind="status", step=step, status=503)


_USER: Final = LightReachOptions()
_BY_ID: Final = {case.id: case for case in CASES}
_LOGS_IN: Final = replace(
    _BY_ID["lightreach"],
    settings={
        "BULKUP_LIGHTREACH_TOKEN": "",
        "BULKUP_LIGHTREACH_USERNAME": _USER.username,
        "BULKUP_LIGHTREACH_PASSWORD": _USER.password,
    },
)
_INIT_LOST: Final = "after a run in which the answer to the init was lost"
_BYTES_LOST: Final = "after a run in which the answer to the transfer was lost and nobody could be asked"


def _list(case: str) -> Column:
    """The question after the record of a lost init."""
    return Column("list", _BY_ID[case], "list", "asks", earlier=(_lost("init"),), left="failed", note=_INIT_LOST)


def _half_way(title: str, case: str, step: str, left: str) -> Column:
    """The question after bytes that may have landed, put by the next run."""
    earlier = (_lost("put"), _down(step))
    return Column(title, _BY_ID[case], step, "asks", earlier=earlier, left=left, note=_BYTES_LOST)


COLUMNS: Final = (
    Column("login", _LOGS_IN, "login", "asks"),
    Column("init", _BY_ID["lightreach"], "init", "init"),
    Column("PUT", _BY_ID["lightreach"], "put", "bytes", "init", signed=True),
    Column("events", _BY_ID["lightreach"], "stream", "asks", "put", streamed=True, hashed=True),
    replace(_half_way("job", "lightreach", "job", "initiated"), hashed=True),
    Column("v1", _BY_ID["lightreach-v1"], "v1", "noticed", "init", 2, hashed=True),
    Column(
        "list",
        _BY_ID["lightreach-v1"],
        "list",
        "asks",
        earlier=(_lost("v1"),),
        left="unknown",
        patience=5,
        note="after a run in which the answer to v1's upload was lost",
    ),
    Column("init", _BY_ID["loanpro"], "init", "init"),
    Column("PUT", _BY_ID["loanpro"], "put", "bytes", "init", signed=True),
    Column("update", _BY_ID["loanpro-updated"], "update", "asks", "put"),
    _list("loanpro"),
    _half_way("record", "loanpro", "get", "initiated"),
    Column("token", _BY_ID["alloy-bearer"], "login", "asks"),
    Column("describe", _BY_ID["alloy"], "init", "init"),
    Column("PUT", _BY_ID["alloy"], "put", "bytes", "init"),
    _list("alloy"),
    Column("create", _BY_ID["kompliant"], "init", "init"),
    Column("form", _BY_ID["kompliant"], "form", "bytes", "init", signed=True),
    Column("get", _BY_ID["kompliant"], "get", "asks", "form", hashed=True, polled=True),
    Column("requirements", _BY_ID["kompliant-linked"], "required", "asks", "get"),
    Column("batchAdd", _BY_ID["kompliant-linked"], "link", "asks", "required"),
    _list("kompliant"),
    Column(
        "fulfillments",
        _BY_ID["kompliant-items"],
        "fulfillments",
        "asks",
        earlier=(_lost("link"),),
        left="stored",
        note="after a run in which the answer to `batchAdd` was lost",
    ),
    Column("create", _BY_ID["auco"], "init", "noticed", cells={"compress": "false"}),
    Column("create, for a URL", _BY_ID["auco-url"], "init", "noticed"),
    Column("package, for a URL", _BY_ID["auco-package"], "package", "noticed"),
    Column("PUT", _BY_ID["auco-newer"], "put", "used", "init", signed=True),
    _half_way("status", "auco-url", "get", "unknown"),
)

FAULTS: Final[Mapping[str, Rule]] = {
    "connection refused": Rule(kind="close_port"),
    "reset before the body": Rule(kind="reset_before"),
    "reset in the body": Rule(kind="reset_mid"),
    "answer lost": Rule(kind="reset_after"),
    "early 403": Rule(kind="early", status=403),
    "early 503": Rule(kind="early", status=503),
    "stall": Rule(kind="stall"),
    "truncated answer": Rule(kind="truncate"),
    "malformed answer": Rule(kind="malformed"),
    **{str(status): Rule(kind="status", status=status) for status in (401, 403, 404, 408, 409, 413, 429)},
    "429, Retry-After": Rule(kind="status", status=429, retry_after=1),
    **{str(status): Rule(kind="status", status=status) for status in (500, 502, 503, 504)},
    "expired URL": Rule(kind="expired_url"),
    "keep-alive closed": Rule(kind="close_kept"),
    "events dropped": Rule(kind="drop_stream"),
    "events garbled": Rule(kind="garbage_stream"),
    "wrong hash": Rule(kind="wrong_hash"),
}
_OUTCOMES: Final = frozenset({"expired URL", "wrong hash"})
_MISSABLE: Final = frozenset({"keep-alive closed"})
"""Whether it is met is up to the client: it may take a new connection."""
_NEVER_STREAMED: Final = frozenset(
    {"reset in the body", "answer lost", "early 403", "early 503", "truncated answer", "malformed answer"}
)


def why_not(column: Column, fault: str) -> str | None:
    """Why there is no such cell; None: there is."""
    if fault == "expired URL" and not column.signed:
        return "no signed URL"
    if fault == "wrong hash" and not column.hashed:
        return "no hash"
    if fault.startswith("events ") and not column.streamed:
        return "no stream"
    if fault in _NEVER_STREAMED and column.streamed:
        return "a stream"
    return None


@dataclass(frozen=True)
class Seen:
    """What came of the row that was hit: of several, the one that ended worst.

    Args:
        state: in the ledger, after the run with the fault.
        stage: where it failed, or became unknown.
        code: why.
        held: how many documents the vendor has of it.
        then: the row's state after the next run.
        then_held: how many documents the vendor has of it then.
    """

    state: str
    stage: str | None
    code: str | None
    held: int
    then: str
    then_held: int


@dataclass(frozen=True)
class Result:
    """What came of a cell.

    Args:
        seen: of the row that was hit.
        wrong: what must never be, in words.
        inits: how many of the requests were sent by which the vendor makes its records, for each row.
    """

    seen: Seen
    wrong: tuple[str, ...]
    inits: float


SIZE: Final = 300_000
"""Bytes of a file: more than fits into the buffers between a client and a server that does not read."""
_PATIENT: Final[Mapping[str, object]] = {"retry_for": 30, "settle": 0.1, "job_timeout": 60}
_CURT: Final[Mapping[str, object]] = {**_PATIENT, "retry_for": 0.3}
_HOPELESS: Final = 8
"""Seconds for a job that nobody can be asked about."""
_STALL: Final[dict[str, object]] = {"connect_timeout": 2, "timeout": 4, "stall_timeout": 4}
_DOWN_FOR: Final = 0.3
_WORSE: Final = ("completed", "pending", "initiated", "stored", "failed", "unknown")
_EXITS: Final = {"completed": 0, "unknown": 3}


async def cell(folder: Path, column: Column, fault: str, *, always: bool) -> Result:
    """Carry out one cell, in a folder of its own."""
    archive = Archive(folder)
    documents = [_add(archive, column, number) for number in range(1 if always else 2)]
    rules = _rules(column, fault, always=always)
    async with Sandbox(options=column.case.options or ()) as sandbox:
        bench = _Bench(archive, sandbox, column)
        wrong = await bench.prepare(rules if fault in _OUTCOMES else ())
        sandbox.faults = Faults(rules=rules)
        options = dict(_CURT if always else _PATIENT) | (_STALL if fault == "stall" else {})
        if always and (fault == "connection refused" or column.polled):
            options["job_timeout"] = _HOPELESS
        if always and column.streamed and fault == "429, Retry-After":
            options["retry_for"] = 3  # else chance decides whether the job is polled within the second asked for
        if fault == "connection refused" and column.after is None:
            async with _closed(sandbox, 3600 if always else _DOWN_FOR):
                first = await bench.run(options)
        else:
            first = await bench.run(options)
        if rules and fault not in _MISSABLE and not (sandbox.spoilt or (column.earlier and fault in _OUTCOMES)):
            wrong.append("no request met the fault")
        sandbox.faults = Faults()
        await sandbox.open_port()
        then = await bench.run(_PATIENT)

        hit = max(range(len(documents)), key=lambda number: _WORSE.index(first.states[number]))
        seen = Seen(
            first.states[hit],
            first.rows[hit]["stage"],
            first.rows[hit]["error_code"],
            _copies(first.held, documents[hit]),
            then.states[hit],
            _copies(then.held, documents[hit]),
        )
        wrong += [*sandbox.breaches, *["credentials went to a signed URL"] * sandbox.leaks]
        wrong += _wrong(hit, first, then, documents)
        inits = sandbox.requests[column.vendor, column.case.init] / len(documents)
    return Result(seen, tuple(wrong), inits)


@dataclass(frozen=True)
class _Ran:
    """How a run ended: its exit code, the ledger's rows, and what the vendor holds."""

    code: int
    rows: list[Mapping[str, Any]]
    held: Held

    @property
    def states(self) -> list[str]:
        return [row["state"] for row in self.rows]


@dataclass(frozen=True)
class _Bench:
    archive: Archive
    sandbox: Sandbox
    column: Column

    async def run(self, options: Mapping[str, Any]) -> _Ran:
        case = self.column.case
        environment = {**self.sandbox.environment(), **case.settings}
        summary = await self.archive.upload(self.sandbox, environment=environment, **options)
        return _Ran(summary.exit_code, self.archive.ledger_rows(), case.held(self.sandbox))

    async def prepare(self, rules: tuple[Rule, ...]) -> list[str]:
        """The run before; ``rules`` spoil what is drawn when an upload is announced."""
        if not self.column.earlier:
            return []
        self.sandbox.faults = Faults(rules=(*self.column.earlier, *rules))
        ran = await self.run({**_CURT, "retry_for": self.column.patience})
        return [f"a row was left {state}" for state in ran.states if state != self.column.left]


def _add(archive: Archive, column: Column, number: int) -> Any:
    """A row, all in one container; what the vendor must hold of it."""
    row = {**column.case.row(2 * number + 1), **column.cells}
    path = archive.add(f"{number}.pdf", f"%PDF-1.7 {number}".encode().ljust(SIZE, b"."), **row)
    return column.case.expected(row, path.name, sha256(path))


def _wrong(hit: int, first: _Ran, then: _Ran, documents: list[Any]) -> list[str]:
    """What must never be, beside the end of the row that was hit."""
    wrong = [
        f"{ran.states[hit]}, and the exit code is {ran.code}"
        for ran in (first, then)
        if ran.code != _EXITS.get(ran.states[hit], 1)
    ]
    for number, document in enumerate(documents):
        if number != hit and (then.states[number], then.held[document]) != ("completed", 1):
            wrong.append(f"the other row: {then.states[number]}, {then.held[document]} documents")
    if {_hash(each) for each in then.held} - {_hash(each) for each in documents}:
        wrong.append("a document that is none of the rows'")
    if then.states[hit] == "completed" and then.held[documents[hit]] != _copies(then.held, documents[hit]):
        wrong.append("a document without what the row asks for")
    return wrong


def _rules(column: Column, fault: str, *, always: bool) -> tuple[Rule, ...]:
    rule = FAULTS[fault].model_copy(update={"vendor": column.vendor, "times": None if always else 1})
    if fault in _OUTCOMES:
        return (rule,)
    if fault != "connection refused":
        return (rule.model_copy(update={"step": column.step}),)
    if column.after is None:
        return ()
    seconds = 3600.0 if always else _DOWN_FOR
    return (rule.model_copy(update={"step": column.after, "after": column.nth - 1, "times": 1, "seconds": seconds}),)


@asynccontextmanager
async def _closed(sandbox: Sandbox, seconds: float) -> AsyncIterator[None]:
    """Nobody listens from the beginning, for so many seconds."""

    async def reopen() -> None:
        await asyncio.sleep(seconds)
        await sandbox.open_port()

    await sandbox.close_port()
    opening = asyncio.create_task(reopen())
    try:
        yield
    finally:
        opening.cancel()


def _copies(held: Held, document: Any) -> int:
    """How many documents have a row's bytes; one that was put away is none."""
    archived = [each for each in held if each[0].startswith("loan:") and each[4]]  # type: ignore[index]
    return sum(count for each, count in held.items() if _hash(each) == _hash(document) and each not in archived)


def _hash(document: Any) -> str:
    return str(document[-1])
