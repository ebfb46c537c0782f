"""The real command, ended at a named moment: ``python -m tests.crash_at MOMENT run manifest.csv``.

A moment is ``point:count:when``, such as ``Answered:2:after``: the second time that this point is passed. Points are
the ledger's marks by their names (``before`` they are written, ``within`` their transaction, ``after`` that
was committed), its methods ``stage``, ``admit``, ``finish_run``, ``release`` and ``put_away``, each ``request``
(``before`` it is sent, in the ``middle`` of its body, ``after`` its answer), each ``stream``, and with a `Disk` each
``sync``. What is wrapped for that is wrapped in here, so the program itself has no hooks.

Without arguments it is a process that has loaded everything, and forks a life of the command for each JSON line on its
standard input (`Life`); it answers each with the exit code. That saves what a start of Python costs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

from bulkup.cli import main
from bulkup.ledger import Ledger, store
from bulkup.tasks import begin
from bulkup.transport import Body, Done, Limits, Request, Response, Stream
from bulkup.wire import Wire
from tests.disk import Disk

METHODS = ("stage", "admit", "finish_run", "release", "put_away")
_LATER_ROUNDS = 5


@dataclass(frozen=True)
class Life:
    """One life of the command.

    Attributes:
        arguments: its command line.
        environment: all of it.
        folder: where it runs; its output goes to ``stdout`` and ``stderr`` there.
        moment: when it ends; empty: by itself.
        deeds: what happens then: names of signals, or ``full``: the disk is.
        census: a file that is told of each moment; empty: none.
        synced: a folder for what a power cut would leave of the ledger; empty: the usual disk.
    """

    arguments: Sequence[str]
    environment: dict[str, str]
    folder: str
    moment: str = ""
    deeds: Sequence[str] = ("SIGKILL",)
    census: str = ""
    synced: str = ""

    def line(self) -> bytes:
        """For the process that forks."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass
class Reaper:
    """Waits for the moment."""

    life: Life
    disk: Disk | None = None
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def passes(self, point: str, when: str, number: int | None = None) -> None:
        """The command is there; the number is how often it was, if none is given."""
        self.seen[point, when] += 1
        moment = f"{point}:{number or self.seen[point, when]}:{when}"
        if self.life.census:
            with Path(self.life.census).open("a") as file:
                file.write(moment + "\n")
        if moment == self.life.moment:
            for deed in self.life.deeds:
                if deed == "full":
                    assert self.disk is not None
                    self.disk.full = True
                else:
                    os.kill(os.getpid(), signal.Signals[deed])

    def install(self) -> None:
        """Lie in wait at each point."""
        if self.life.synced:
            self.disk = Disk(Path(self.life.synced), self.passes)
            self.disk.install()
        for name in METHODS:
            setattr(Ledger, name, self._around(getattr(Ledger, name), name))
        setattr(Ledger, "write", self._marks(Ledger.write))  # noqa: B010 - mypy takes a method for a constant
        setattr(store, "write", self._within(getattr(store, "write")))  # noqa: B009, B010 - it is imported there
        self._requests(Wire.send)
        self._streams(Wire.stream)

    def _around(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            self.passes(name, "before")
            result = method(*arguments, **options)
            self.passes(name, "after")
            return result

        return call

    def _marks(self, method: Callable[..., None]) -> Callable[..., None]:
        def write(ledger: Ledger, marks: Sequence[object]) -> None:
            for mark in marks:
                self.passes(type(mark).__name__, "before")
            method(ledger, marks)
            for mark in marks:
                self.passes(type(mark).__name__, "after")

        return write

    def _within(self, function: Callable[..., None]) -> Callable[..., None]:
        def write(connection: object, marks: Sequence[object]) -> None:
            function(connection, marks)
            for mark in marks:
                self.passes(type(mark).__name__, "within")

        return write

    def _requests(self, method: Callable[..., Any]) -> None:
        async def send(transport: Wire, request: Request, limits: Limits) -> Response:
            self.passes("request", "before")
            number, body = self.seen["request", "before"], request.body
            if body is not None:
                request = replace(request, body=Body(body.length, lambda: self._halves(body, number)))
            response: Response = await method(transport, request, limits)
            self.passes("request", "after", number)
            return response

        def start(transport: Wire, request: Request, limits: Limits, done: Done) -> Callable[[], object]:
            return begin(partial(send, transport, request, limits), done)

        setattr(Wire, "send", send)  # noqa: B010
        setattr(Wire, "start", start)  # noqa: B010

    async def _halves(self, body: Body, number: int) -> AsyncIterator[bytes]:
        middle, passed = body.length // 2, 0
        async for chunk in body.chunks():
            if passed <= middle < passed + len(chunk):
                yield chunk[: middle - passed]
                for _ in range(_LATER_ROUNDS):  # the loop sends what was written at the end of a round
                    await asyncio.sleep(0)
                self.passes("request", "middle", number)
                yield chunk[middle - passed :]
            else:
                yield chunk
            passed += len(chunk)

    def _streams(self, method: Callable[..., Any]) -> None:
        @asynccontextmanager
        async def stream(transport: Wire, request: Request, limits: Limits) -> AsyncIterator[Stream]:
            self.passes("stream", "before")
            async with method(transport, request, limits) as opened:
                self.passes("stream", "after")
                yield opened

        setattr(Wire, "stream", stream)  # noqa: B010


def live(life: Life) -> None:
    """Be the command."""
    os.environ.clear()
    os.environ.update(life.environment)
    os.chdir(life.folder)
    Reaper(life).install()
    sys.argv = ["bulkup", *life.arguments]
    main()


def _forked(life: Life) -> int:
    """The exit code of a life in a process of its own; minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        folder = Path(life.folder)
        for number, path in enumerate((Path("/dev/null"), folder / "stdout", folder / "stderr")):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        code = 0
        try:
            live(life)
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        except BaseException:  # noqa: BLE001 - what a process of its own would do
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        live(Life(sys.argv[2:], dict(os.environ), str(Path.cwd()), sys.argv[1]))
    for line in sys.stdin:
        sys.stdout.write(f"{_forked(Life(**json.loads(line)))}\n")
        sys.stdout.flush()
