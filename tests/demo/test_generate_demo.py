import json
from pathlib import Path

import pytest

from vl.demo.generate import FAMILIES, GenerateDemo

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_everything_is_made_judged_and_not_made_twice(tmp_path):
    demo = GenerateDemo(ROOT, tmp_path / "out", tmp_path / "scenes", quick=True)
    demo.run()
    report = json.loads((tmp_path / "out/report.json").read_text())
    rows = {(row["model"], row["task"], row["rerank"], row["split"]): row["metrics"] for row in report["results"]}
    for family in FAMILIES:
        for rerank in ("none", "clip", "self"):
            metrics = rows[family, "generation", rerank, "test_compositions"]
            assert {"object_accuracy", "object_accuracy_shuffled", "fid_efficientnet", "psnr"} <= set(metrics)
            assert {"object_accuracy/en", "object_accuracy/zh"} <= set(metrics)
        assert "psnr" in rows[family, "reconstruction", None, "test_compositions"]
        assert report["settings"]["minutes_a_family"][family] > 0
    assert ("real scenes", "judge", None, "test_compositions") in rows
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data:image/png") > 50
    assert "super-resolution" in page
    made = (tmp_path / "out/report.json").stat().st_mtime_ns
    demo.run()
    assert (tmp_path / "out/report.json").stat().st_mtime_ns == made
