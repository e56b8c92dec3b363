"""What is fine-tuned on scenes: the runs that are put together of two configurations."""

from pathlib import Path

import pytest
import yaml

from vl.demo.finetuned import VIEWS
from vl.demo.finetuning import FineTuning, Run, over_seeds
from vl.demo.scenes import SYSTEMS, Scenes
from vl.report.finetuned import FineTuned, show_finetuned

ROOT = Path(__file__).parents[2]
UNITER = yaml.safe_load((ROOT / "configs/debug/uniter_scenes.yaml").read_text())


@pytest.fixture
def tuning(tmp_path):
    (tmp_path / "scenes").mkdir()
    tuning = FineTuning(tmp_path / "runs", Scenes(ROOT, tmp_path / "scenes", quick=False))
    tuning.starts.update({system: (Path(f"{system}.ckpt"), "sum") for system in SYSTEMS})
    return tuning


@pytest.mark.parametrize("task", VIEWS)
def test_a_run_has_the_trunk_that_was_pretrained(task):
    config = yaml.safe_load((ROOT / f"configs/finetune/scenes_{task}.yaml").read_text())
    assert config["model"]["model"] == UNITER["model"]["model"]
    assert config["data"]["tokenizer"] == UNITER["data"]["tokenizer"]
    assert list(config["model"]["objectives"]) == [task]
    steps = UNITER["trainer"]["max_steps"]
    assert config["model"]["init"][0]["init_args"]["path"].endswith(f"uniter_scenes/checkpoints/step_{steps:08d}.ckpt")


@pytest.mark.parametrize("system", SYSTEMS)
def test_another_trunk_and_its_heads(tuning, system):
    config = tuning.config(Run(system, "vqa", "pretrained", 3, "none"))
    pretrained = yaml.safe_load((ROOT / f"configs/debug/{system}_scenes.yaml").read_text())
    assert config["model"]["model"] == pretrained["model"]["model"]
    assert config["seed_everything"] == config["model"]["seed"] == config["data"]["seed"] == 3
    trunk, *heads = config["model"]["init"]
    assert trunk["init_args"] == {"path": f"{system}.ckpt", "target": "", "part": ""}
    assert [head["init_args"]["part"] for head in heads] == ["answers.head"] * (system == "lxmert")
    assert tuning.config(Run(system, "vqa", "scratch", 0, "none"))["model"]["init"] == []


def test_a_control_wraps_the_trunk(tuning):
    config = tuning.config(Run("uniter", "retrieval", "pretrained", 0, "text only"))
    wrapped = config["model"]["model"]
    assert wrapped["class_path"] == "vl.models.controls.TextOnly"
    assert wrapped["init_args"] == {"model": UNITER["model"]["model"]}
    trunk, head = config["model"]["init"]
    assert trunk["init_args"]["target"] == "model"
    assert head["init_args"] == {"path": "uniter.ckpt", "target": "retrieval.head", "part": "itm.head", "row": 1}


def found(init, seed, value, control="none"):
    return FineTuned("uniter", "vqa", "test", "en", "p", 9, {"value": value, "majority": 30.0}, init, control, seed)


def test_means_over_seeds_and_what_pretraining_adds(capsys):
    findings = [found("pretrained", seed, 80.0 + seed) for seed in range(3)]
    findings += [found("scratch", seed, 70.0 - seed) for seed in range(3)] + [found("pretrained", 0, 31.0, "text only")]
    means = {one.init: one for one in over_seeds(findings)}
    values = {init: one.metrics["value"] for init, one in means.items()}
    assert values == {"pretrained": 81.0, "scratch": 69.0, "pretrained - scratch": 12.0}
    assert all(one.seed is None and one.interval[0] < one.metrics["value"] < one.interval[1] for one in means.values())
    assert list(over_seeds(findings[:1])) == []
    show_finetuned([*findings, *means.values()])
    assert "text only" in capsys.readouterr().out
