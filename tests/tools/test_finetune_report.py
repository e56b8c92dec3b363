"""The report of fine-tuning, end to end on a few scenes."""

import json

import pytest

TASKS = {"vqa", "nlvr2", "snli_ve", "vcr", "refcoco", "retrieval", "captioning"}


@pytest.mark.slow
def test_quick_report(tmp_path, run_tool, capsys):
    file, folders = tmp_path / "report.json", ("--work", tmp_path / "work", "--pretrained", tmp_path / "pretrained")
    run_tool("finetune_report", "--quick", *folders, "--json", file)
    report = json.loads(file.read_text())
    assert (report["schema"], report["quick"]) == (1, True)
    results = report["results"]
    assert {(row["task"], row["control"]) for row in results} == {
        (task, control) for task in TASKS for control in ("none", "text only")
    }
    assert {row["split"] for row in results} == {"test", "test_objects", "test_compositions"}
    assert {row["language"] for row in results} == {"en", "zh"}
    for row in results:
        assert row["n"] > 0
        assert row["interval"][0] <= row["metrics"]["value"] <= row["interval"][1]
    capsys.readouterr()
    more = ("--tasks", "vqa", "--seeds", 0, 1, "--init", "pretrained", "scratch")
    run_tool("finetune_report", "--quick", *folders, *more, "--json", file)
    said = capsys.readouterr().out
    assert "train uniter vqa-pretrained-0-none: done already" in said
    results = json.loads(file.read_text())["results"]
    assert {row["init"] for row in results if row["seed"] is None} == {"pretrained", "scratch", "pretrained - scratch"}
