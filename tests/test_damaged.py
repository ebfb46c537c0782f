"""A damaged ledger: one clear line, and never a traceback."""

from __future__ import annotations

import random

import pytest

import bulkup
from bulkup.ledgers import open_ledger
from bulkup.sandbox import Sandbox
from tests.conftest import Archive
from tests.process import bulkup as command


async def test_any_damage_is_an_error_of_ours(archive: Archive) -> None:
    """Bytes that changed, pages that are rubbish, a file cut short: reading says so, or gives what is left."""
    for number in range(300):
        archive.row(f"no such file {number}.pdf")
    async with Sandbox() as sandbox:
        await archive.upload(sandbox)
    whole = archive.file.read_bytes()
    refused: list[str] = []
    for seed in range(60):
        dice = random.Random(seed)
        damaged = bytearray(whole)
        start = dice.choice([0, 100, 4096 * 12])
        for _ in range(dice.choice([1, 20, 400])):
            damaged[dice.randrange(start, len(whole))] = dice.randrange(256)
        archive.file.write_bytes(damaged[: dice.choice([len(whole), dice.randrange(len(whole))])])
        try:
            with open_ledger(archive.file, exclusive=False) as ledger:
                list(ledger.rows())
                ledger.runs(5)
        except bulkup.BulkupError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert all(len(text.splitlines()) == 1 and "no such file" not in text for text in refused)


def test_the_command_says_it_in_a_line(archive: Archive) -> None:
    """Exit code 2 or 1, the ledger's name, and no traceback."""
    archive.file.write_bytes(b"SQLite format 3\0" + b"x" * 8000)
    for arguments in (("status",), ("export",), ("orphans",)):
        done = command(*arguments, "--ledger", archive.file, environment={}, cwd=archive.folder)
        assert done.returncode in {1, 2}
        assert done.stderr.startswith("bulkup: ")
        assert archive.file.name in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:x", "http://127.0.0.1/a\nb", "https://", "x"]
)
def test_a_base_url_that_makes_no_sense(url: str) -> None:
    """It is named before anything is sent."""
    environment = {"BULKUP_LIGHTREACH_TOKEN": "t"}
    with pytest.raises(bulkup.ConfigError, match="must be like https://host"):
        bulkup.config.adapters(["lightreach"], environment, url)
