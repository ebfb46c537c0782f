"""Who is measured: each contender is a command, timed as a whole process with all that it starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_EVERY = 0.02
_UNSET = frozenset(
    {
        "AWS_CA_BUNDLE",  # of no use to plain HTTP, and rclone stumbles over it
        "PYTHONDONTWRITEBYTECODE",  # what is installed is not compiled anew at each start
    }
)


@dataclass(frozen=True)
class Measure:
    """One run.

    Attributes:
        wall: seconds.
        cpu: seconds of the client and its children, in user and system mode.
        peak: the largest resident size of one of its processes, in MB.
    """

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Contender:
    """Something that sends a folder of files.

    Attributes:
        name: in tables.
        steps: commands that follow each other.
        environment: added to that of this process.
        start: a command that only starts; what it takes is taken off.
        before: is called before each run; its time does not count.
    """

    name: str
    steps: Sequence[Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    start: Sequence[str] = ()

    def missing(self) -> str | None:
        """The program that is not on this machine, if there is one."""
        return next((step[0] for step in self.steps if shutil.which(step[0]) is None), None)

    def run(self) -> Measure:
        """Run it; raises RuntimeError if it fails."""
        self.before()
        off = replace(self, steps=[self.start], start=()).run() if self.start else Measure(0, 0, 0)
        began, cpu, peak = time.perf_counter(), 0.0, 0
        for step in self.steps:
            environment = {name: value for name, value in (os.environ | self.environment).items() if name not in _UNSET}
            with subprocess.Popen(step, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                assert process.stderr is not None
                watch = _Watch(process.pid)
                said = process.stderr.read()
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                peak = max(peak, watch.end())
            if process.returncode != 0:
                raise RuntimeError(
                    f"{self.name}: exit code {process.returncode}: {said[-500:].decode(errors='replace')}"
                )
            cpu += usage.ru_utime + usage.ru_stime
        return Measure(time.perf_counter() - began - off.wall, cpu - off.cpu, peak / 1024)


class _Watch(threading.Thread):
    """Looks at a process's largest resident size, in kB: what the kernel reports at its end includes its parent's."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self._peak = 0
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        """Look now and then."""
        while not self._over.wait(_EVERY):
            try:
                found = re.search(r"VmHWM:\s+(\d+)", self._status.read_text())
            except OSError:
                return
            self._peak = max(self._peak, int(found[1]) if found else 0)

    def end(self) -> int:
        """What it was."""
        self._over.set()
        return self._peak


def bulkup(name: str, manifest: Path, environment: Mapping[str, str], *options: str) -> Contender:
    """`bulkup run` with a ledger of its own."""
    ledger = manifest.parent / "bulkup.db"

    def clear() -> None:
        for path in manifest.parent.glob("bulkup.db*"):
            path.unlink()

    command = [sys.executable, "-m", "bulkup", "run", str(manifest), "--provider", "lightreach"]
    return Contender(name, [[*command, "--ledger", str(ledger), *options]], environment, clear)


def curl(
    name: str, files: Sequence[Path], url: str, folder: Path, *, md5: bool, authority: Path | None = None
) -> Contender:
    """`curl --parallel` doing the PUTs; then md5sum of the same files on all cores."""
    configuration = folder / f"{name.replace(' ', '-')}.curl"
    lines = [
        f'upload-file = "{path}"\nurl = "{url}/{path.name}?signature=abc"\noutput = "/dev/null"\n' for path in files
    ]
    configuration.write_text("".join(lines))
    command = ["curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "64", "--http1.1"]
    command += ["--header", "Content-Type: application/pdf", "--header", "Expect:", "--config", str(configuration)]
    command += ["--cacert", str(authority)] if authority else []
    listed = folder / "files.txt"
    listed.write_text("\0".join(map(str, files)))
    share = max(1, len(files) // (4 * (os.cpu_count() or 1)))
    hashing = ["xargs", "--null", "--arg-file", str(listed), "-P", str(os.cpu_count()), "-n", str(share), "md5sum"]
    return Contender(name, [command, hashing] if md5 else [command])


def script(who: str, documents: Path, environment: Mapping[str, str], *more: str) -> Contender:
    """One of `benchmarks.scripts`."""
    return Contender(who, [[sys.executable, "-m", "benchmarks.scripts", who, str(documents), *more]], environment)


def client(documents: Path, nothing: Path, *more: str) -> Contender:
    """Our transfer client alone, without what Python takes to start.

    Args:
        nothing: an empty folder.
    """
    command = [sys.executable, "-m", "benchmarks.scripts", "wire"]
    return Contender("client", [[*command, str(documents), *more]], start=[*command, str(nothing), *more])


def s5cmd(documents: Path, endpoint: str, bucket: str, keys: Mapping[str, str]) -> Contender:
    """s5cmd, with as many connections as bulkup."""
    program = shutil.which("s5cmd", path=Path(sys.executable).parent) or "s5cmd"
    command = [program, "--endpoint-url", endpoint, "--numworkers", "64", "--log", "error", "cp"]
    return Contender("s5cmd", [[*command, f"{documents}/", f"s3://{bucket}/s5cmd/"]], keys)


def rclone(documents: Path, endpoint: str, bucket: str, keys: Mapping[str, str]) -> Contender:
    """Rclone, with as many connections as bulkup."""
    remote = f":s3,provider=SeaweedFS,env_auth=true,endpoint='{endpoint}':{bucket}/rclone"
    command = ["rclone", "copy", "--transfers", "64", "--checkers", "64", "--no-traverse", "--no-check-dest"]
    return Contender("rclone", [[*command, str(documents), remote]], keys)
