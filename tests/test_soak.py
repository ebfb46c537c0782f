"""The soak, with fewer rows: ``make soak`` sends 100,000."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 3000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_faults_on_each_step_lose_nothing_and_leave_nothing_open() -> None:
    """1 % of each fault on each step: all rows complete, once, in at most two runs; files and tasks as at the start."""
    command = [sys.executable, "-m", "benchmarks.soak", "--rows", str(ROWS)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "at the vendors: 0 missing, 0 twice, 0 rules broken" in done.stdout
