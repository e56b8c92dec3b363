import json
from pathlib import Path

import pytest


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=[pytest.mark.slow, pytest.mark.bf16])])
def test_quick_run_agrees_with_open_clip(tmp_path, run_tool, precision):
    """Loss, embeddings and gradients of both sides on the timed captions; the times themselves mean nothing here."""
    run_tool("bench_train", "--quick", "--precision", precision, "--json", tmp_path / "out.json", "--threads", 1)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["quick"]
    assert [result["case"] for result in found["results"]] == ["padded to 77", "cut to the longest"]
    for result in found["results"]:
        assert result["check"] < (1e-4 if precision == "fp32" else 0.1)
        assert result["settings"]["lengths"]["mean"] == pytest.approx(12, abs=0.5)


def test_a_processor_without_bf16_is_named(run_tool, monkeypatch, capsys):
    def measure(case, args):
        raise RuntimeError("measured all the same")

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    for module in ("bench_train", "vl.report.figures"):
        monkeypatch.setattr(f"{module}.processor", lambda: "Abacus")
    monkeypatch.setattr("bench_train.measure", measure)
    with pytest.raises(RuntimeError, match="all the same"):
        run_tool("bench_train", "--precision", "bf16", "--batch", 1)
    assert "Abacus" in capsys.readouterr().err
