"""The real command in a process of its own, and a sandbox in another."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BULKUP = [sys.executable, "-m", "bulkup"]


@dataclass(frozen=True)
class Server:
    """A sandbox in a process of its own."""

    url: str
    environment: Mapping[str, str]

    def state(self) -> dict[str, Any]:
        """What it holds and what it saw."""
        with urllib.request.urlopen(f"{self.url}/_sandbox/state") as answer:
            state: dict[str, Any] = json.load(answer)
            return state

    def documents(self) -> list[dict[str, Any]]:
        """What LightReach holds."""
        documents: list[dict[str, Any]] = self.state()["lightreach"]["documents"]
        return documents

    def faults(self, *rules: Mapping[str, object]) -> None:
        """Replace the fault plan."""
        body = json.dumps({"seed": 1, "rules": rules}).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/faults", body, method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 204


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """Start ``bulkup sandbox``, wait until it listens, and end it afterwards."""
    command = [*BULKUP, "sandbox", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        environment: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("#"):
                break
            name, _, value = shlex.split(line)[1].partition("=")
            environment[name] = value
        try:
            yield Server(environment["BULKUP_LIGHTREACH_BASE_URL"].removesuffix("/lightreach"), environment)
        finally:
            process.terminate()


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without any setting of bulkup, and ``extra``."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BULKUP_")} | dict(extra)


def bulkup(
    *arguments: str | Path, environment: Mapping[str, str], cwd: Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        [*BULKUP, *map(str, arguments)],
        env=clean_environment(environment),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=50,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(*arguments: str | Path, environment: Mapping[str, str], cwd: Path) -> subprocess.Popen[str]:
    """Start a command."""
    return subprocess.Popen(
        [*BULKUP, *map(str, arguments)],
        env=clean_environment(environment),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
