"""The benchmark of the index runs, finds every example, and shares its memory."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools/bench_index.py"


def test_quick(tmp_path):
    path = tmp_path / "index.json"
    subprocess.run([sys.executable, str(TOOL), "--quick", "--json", str(path)], check=True, timeout=250)
    report = json.loads(path.read_text())
    assert (report["schema"], report["quick"], report["settings"]["samples"]) == (1, True, 100_000)
    found = {(result["name"], result["case"]): result for result in report["results"]}
    assert found["open", "100,000 samples"]["check"] == 0
    assert found["open memory", "100,000 samples"]["ours"] < 20
    assert found["memory of the index", "2 workers together"]["settings"]["shared by"] > 1.5
