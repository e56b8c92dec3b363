"""The loader's benchmark runs, in its quick form, and says what was asked of it."""

import json


def test_the_quick_benchmark_writes_both_cases(tmp_path, run_tool):
    out = tmp_path / "loader.json"
    run_tool("bench_loader", "--quick", "--json", out)
    report = json.loads(out.read_text())
    assert report["schema"] == 1
    assert report["quick"] is True
    assert len(report["results"]) == 2
    for result in report["results"]:
        assert result["ours"] > 0
        assert result["peer"] > 0
        assert 0 < result["check"] < 0.03
        assert len(result["pairs"]) == 1
