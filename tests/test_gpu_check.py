"""``make gpu-check``'s quick form, on the CPU: every part that it has runs, and what it finds is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "gpu_check.py"


@pytest.mark.long
def test_the_quick_form_on_the_cpu(tmp_path):
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "cpu.json").read_text())
    assert report["failed"] == {} and report["device"] == "cpu"
    (row,) = report["parts"]["agreement"]
    assert (row["backbone"], row["precision"], row["images"]) == ("demo", "fp32", 6)
    for cue in ("q_sim", "q_mag", "q"):
        assert row[f"{cue}_srcc"] == pytest.approx(1) and row[f"{cue}_largest"] < 1e-4
    rows = report["parts"]["speed"]
    assert [row["contender"].partition(",")[0] for row in rows] == [
        "one image at a time",
        "files",
        "files",
        "raw",
    ]
    assert all(row["views_per_second"] > 0 and row["x_one_at_a_time"] > 0 for row in rows)
    assert (tmp_path / "cpu.md").read_text() == done.stdout
    for row in rows:
        assert f"| {row['contender']} |" in done.stdout
