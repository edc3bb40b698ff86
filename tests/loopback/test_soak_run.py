"""``make soak`` as short as it goes: it runs and counts. Whether anything grows, it cannot tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.timeout(480),
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no /proc: not Linux"),
]

TESTS = Path(__file__).parents[1]
SHORT = ("--hours", "0.2", "--speed", "200", "--real-minutes", "0.2", "--week-hours", "0.2")
MARKS = "# Soak\n\n<!-- figures: soak-epochs -->\n<!-- end of figures -->\n"


def test_a_short_soak_loses_and_doubles_nothing(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(MARKS, encoding="utf-8")
    kept = ("--folder", str(tmp_path / "soak"), "--write", str(document))
    done = subprocess.run(
        [sys.executable, "-m", "soak", *SHORT, *kept],
        env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("held\n")
    assert "GROWS" not in done.stdout
    assert "| 0.2 h at 200x, then 0.2 min at 1x | 24 | 24 |" in document.read_text(encoding="utf-8")
    assert (tmp_path / "soak" / "seen.json").stat().st_size > 1000
