import json

import pytest


@pytest.mark.parametrize("peer", ["visualbert", "lxmert"])
def test_quick_run_agrees_with_hugging_face(tmp_path, run_tool, peer):
    """Loss, logits and gradients of both sides on the timed batches; the times themselves mean nothing here."""
    run_tool("bench_train", "--peer", peer, "--quick", "--json", tmp_path / "out.json", "--threads", 1)
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [result["case"] for result in results] == ["ragged", "fixed"]
    assert all(result["check"] < 1e-4 for result in results)
    assert results[0]["settings"]["padded/real"] > 1.2
    assert results[1]["settings"]["padded/real"] == 1
    assert all(result["settings"]["GFLOP a step"] > 1 for result in results)
