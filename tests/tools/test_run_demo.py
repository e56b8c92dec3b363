"""`make demo`, on a few pictures."""

import json


def test_quick_and_again(tmp_path, run_tool, capsys):
    run_tool("run_demo", "--quick", "--out", tmp_path)
    file = tmp_path / "report.json"
    report = json.loads(file.read_text())
    assert (report["schema"], report["quick"]) == (1, True)
    assert {result["model"] for result in report["results"]} == {"vl", "ridge"}
    assert {"text_to_image/R@1", "image_to_text/R@1"} <= set(report["results"][0]["metrics"])
    assert all(len(digest) == 64 for digest in report["settings"]["shards"].values())
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/") > 5
    made, text = file.stat().st_mtime_ns, capsys.readouterr().out
    run_tool("run_demo", "--quick", "--out", tmp_path)
    assert file.stat().st_mtime_ns == made
    assert capsys.readouterr().out.splitlines()[-1] == text.splitlines()[-1]
