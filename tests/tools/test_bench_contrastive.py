"""The memory benchmark of the contrastive loss, quickly."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools/bench_contrastive.py"


def test_quick(tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, TOOL, "--quick", "--json", file, "--seed", "3", "--batch", "64"]
    subprocess.run(command, check=True, timeout=240, capture_output=True)
    report = json.loads(file.read_text())
    (result,) = report["results"]
    assert report["quick"] is True
    assert report["settings"]["seed"] == 3
    assert result["check"] < 1e-5
    assert result["better"] == "lower"
    assert all(value > 0 for value in result["pairs"][0])
