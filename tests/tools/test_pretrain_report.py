"""The report of pretraining, end to end on a few scenes."""

import json

import pytest


@pytest.mark.slow
def test_quick_report(tmp_path, run_tool):
    file = tmp_path / "report.json"
    run_tool("pretrain_report", "--quick", "--work", tmp_path / "work", "--json", file)
    report = json.loads(file.read_text())
    assert (report["schema"], report["quick"]) == (1, True)
    results = report["results"]
    assert {row["model"] for row in results} == {"uniter", "vilbert", "lxmert", "visualbert"}
    assert {row["language"] for row in results} == {"en", "zh"}
    assert {row["split"] for row in results} == {"test", "test_objects", "test_compositions"}
    tasks = {row["task"] for row in results if row["model"] == "lxmert"}
    wanted = {"mlm accuracy", "mlm loss", "itm accuracy", "regions obj/accuracy", "answers accuracy"}
    wanted |= {
        "itm accuracy (text only)",
        "itm accuracy (mean feature)",
        "opposite object",
        "opposite relation",
        "opposite attribute",
    }
    assert wanted <= tasks
    assert all({"value", "baseline"} <= row["metrics"].keys() for row in results)
    assert all(row["n"] > 0 for row in results)
