"""The memory benchmark of the contrastive loss, quickly."""

import json


def test_quick(tmp_path, run_tool):
    file = tmp_path / "figures.json"
    run_tool("bench_contrastive", "--quick", "--json", file, "--seed", 3)
    report = json.loads(file.read_text())
    (result,) = report["results"]
    assert report["quick"] is True
    assert report["settings"]["seed"] == 3
    assert 0 <= result["check"] < 1e-5
    assert result["better"] == "lower"
    assert all(value > 0 for value in result["pairs"][0])
