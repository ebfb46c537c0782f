"""`bulkup run` against the script that people write instead: aiohttp, init, PUT, poll every 0.1 s, one file an init.

Both send the same files to the same sandbox, in a process of its own, in turn; what is reported are medians and the
ratio of medians. Every row has an external reference of its own, so bulkup can't share an init either: three requests
a file for both. What landed is counted after each run.

    python benchmarks/against_a_script.py [--files 1000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import aiohttp
from yarl import URL

ACCOUNT = "bench"


async def upload_by_script(environment: dict[str, str], files: list[Path]) -> None:
    """What one would write in an afternoon."""
    root = f"{environment['BULKUP_LIGHTREACH_BASE_URL']}/api/v2/accounts/{ACCOUNT}/documents"
    bearer = {"Authorization": f"Bearer {environment['BULKUP_LIGHTREACH_TOKEN']}"}
    workers = asyncio.Semaphore(16)
    async with aiohttp.ClientSession() as session:

        async def one(path: Path) -> None:
            async with workers:
                data = path.read_bytes()  # noqa: ASYNC240 - as scripts do
                body = {
                    "files": [{"filename": path.name, "size": len(data)}],
                    "type": "utilityBill",
                    "fields": {"externalReference": path.stem},
                }
                async with session.post(root, json=body, headers=bearer) as answer:
                    init = await answer.json()
                (file,) = init["files"]
                kind = {"Content-Type": file["contentType"]}
                url = URL(
                    file["uploadUrl"], encoded=True
                )  # as a string it would be re-encoded, and the signature broken
                async with session.put(url, data=data, headers=kind) as answer:
                    answer.raise_for_status()
                while True:
                    async with session.get(f"{root}/jobs/{init['jobId']}", headers=bearer) as answer:
                        event = await answer.json()
                    if event["type"] in {"complete", "imageVariantsReady"}:
                        return
                    await asyncio.sleep(0.1)

        await asyncio.gather(*map(one, files))


def sandbox() -> tuple[subprocess.Popen[str], dict[str, str]]:
    """A fresh sandbox and the environment it asks for."""
    command = [sys.executable, "-m", "bulkup", "sandbox", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    environment: dict[str, str] = {}
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("#"):
            break
        name, _, value = shlex.split(line)[1].partition("=")
        environment[name] = value
    return process, environment


def landed(environment: dict[str, str]) -> int:
    """How many documents the stand-in holds."""
    url = environment["BULKUP_LIGHTREACH_BASE_URL"].removesuffix("/lightreach")
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        return len(json.load(answer)["lightreach"]["documents"])


def measure(run: Callable[[dict[str, str]], subprocess.CompletedProcess[bytes]], files: int) -> tuple[float, float]:
    """Wall and client CPU seconds of one run against a fresh sandbox."""
    process, environment = sandbox()
    try:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        run(environment).check_returncode()
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        assert landed(environment) == files
        return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    finally:
        process.terminate()
        process.communicate()


def main() -> None:
    """Run both in turn and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--script", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.script:
        asyncio.run(upload_by_script(dict(os.environ), sorted(Path(arguments.script).glob("*.pdf"))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "account_id", "type", "external_reference"])
            for number in range(arguments.files):
                (folder / f"{number}.pdf").write_bytes(os.urandom(16 * 1024))
                writer.writerow([f"{number}.pdf", ACCOUNT, "utilityBill", number])

        def by_bulkup(environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
            for ledger in folder.glob("bulkup.db*"):
                ledger.unlink()
            command = [sys.executable, "-m", "bulkup", "run", str(folder / "manifest.csv"), "--provider", "lightreach"]
            command += ["--ledger", str(folder / "bulkup.db")]
            return subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)

        def by_script(environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
            command = [sys.executable, __file__, "--script", str(folder)]
            return subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)

        pairs = [
            (measure(by_bulkup, arguments.files), measure(by_script, arguments.files)) for _ in range(arguments.rounds)
        ]
    print(f"{arguments.files} files of 16 KiB, one an init, {arguments.rounds} rounds in turn, whole processes")
    print(f"{'':10}{'files/s':>10}{'CPU ms/file':>14}")
    for column, who in enumerate(("bulkup", "script")):
        rate = statistics.median(arguments.files / pair[column][0] for pair in pairs)
        cpu = statistics.median(1000 * pair[column][1] / arguments.files for pair in pairs)
        print(f"{who:10}{rate:>10.0f}{cpu:>14.2f}")
    walls = [statistics.median(pair[column][0] for pair in pairs) for column in (0, 1)]
    print(f"bulkup / script: {walls[1] / walls[0]:.2f} x its files/s")


if __name__ == "__main__":
    main()
