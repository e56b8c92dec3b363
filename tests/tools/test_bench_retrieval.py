import json


def test_quick_run_agrees_with_hugging_face(tmp_path, run_tool, capsys):
    """Scores and ranks of both sides on the timed block; the times themselves mean nothing here."""
    run_tool("bench_retrieval", "--quick", "--json", tmp_path / "out.json", "--threads", 1)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["quick"]
    assert [result["name"] for result in found["results"]] == ["VisualBERT retrieval"] * 3 + ["LXMERT retrieval"] * 3
    for result in found["results"]:
        assert result["check"] < 1e-5
        assert result["ratio"] > 0
        if result["case"].startswith("candidates"):
            assert 0 <= result["settings"]["lost text_to_image/R@1"] <= 100
    assert "lost image_to_text/R@1" in capsys.readouterr().out
