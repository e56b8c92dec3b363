"""The loader's benchmark runs, in its quick form, and says what was asked of it."""

import json
import subprocess
import sys


def test_the_quick_benchmark_writes_both_cases(tmp_path):
    out = tmp_path / "loader.json"
    command = [sys.executable, "tools/bench_loader.py", "--quick", "--json", str(out)]
    subprocess.run(command, check=True, timeout=280, capture_output=True)
    report = json.loads(out.read_text())
    assert report["schema"] == 1
    assert report["quick"] is True
    assert len(report["results"]) == 2
    for result in report["results"]:
        assert result["ours"] > 0
        assert result["peer"] > 0
        assert 0 < result["check"] < 0.03
        assert len(result["pairs"]) == 1
