"""A tiny run of image-text matching on emoji searched by its pairs, with and without candidates of a CLIP."""

import json
from pathlib import Path

import pytest
import yaml
from evaluation.small import tiny_clip, write_emoji

from vl.data.vocabulary import train_tokenizer
from vl.train.cli import main as vl

ROOT = Path(__file__).resolve().parents[2]
VIEW = {"class_path": "vl.data.views.caption.CaptionView", "init_args": {"languages": ["en"]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The shipped run on easy-VQA's pictures with another objective, one step of it."""
    folder = tmp_path_factory.mktemp("run")
    shards = write_emoji(folder, "val", 24, captions=2)
    (folder / "tokenizer.json").write_text(train_tokenizer(["a smiling face", "an emoji of a dog"] * 9, 60).to_str())
    config = yaml.safe_load((ROOT / "configs/finetune/uniter_easy_vqa.yaml").read_text())
    config["trainer"] |= {"max_steps": 1, "val_check_interval": 1, "default_root_dir": str(folder / "run")}
    config["trainer"] |= {"devices": 1, "strategy": "auto"}  # a second process would run pytest again
    config["model"]["objectives"] = {"itm": {"class_path": "vl.objectives.itm.ITM"}}
    source = {"shards": shards, "view": VIEW, "negatives": {"rate": 0.5}}
    config["data"] |= {"train": [{"class_path": "vl.data.mixture.Source", "init_args": source}], "batch_size": 4}
    del config["data"]["val"], config["data"]["test"]
    config["data"]["tokenizer"]["init_args"]["file"] = str(folder / "tokenizer.json")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    vl(["fit", "--config", str(folder / "tiny.yaml")])
    return ["--run", folder / "tiny.yaml", "--folder", folder / "run", "--data", shards]


def read(path):
    return json.loads(path.read_text())["results"]


def test_every_pair_and_candidates(run, run_tool, tmp_path):
    clip = tiny_clip(tmp_path)[1]
    words = ["retrieval", *run, "--rank-by", clip, "--candidates", 3, "--loss", "--fold", 12, "--json"]
    run_tool("evaluate", *words, tmp_path / "both.json")
    every, some = read(tmp_path / "both.json")
    assert (every["model"], every["task"], every["n"]) == ("tiny", "retrieval", 48)
    assert "48 texts <-> 24 pictures; every pair scored by itm" in every["protocol"]
    assert "3 nearest each way" in some["protocol"]
    for name in ("text_to_image/R@1", "image_to_text/R@10"):
        assert some["metrics"][f"lost/{name}"] == pytest.approx(every["metrics"][name] - some["metrics"][name])
        assert f"folds of 12/{name}" in every["metrics"]
    run_tool("evaluate", "retrieval", *run, "--rank-by", clip, "--candidates", 3, "--json", tmp_path / "some.json")
    (alone,) = read(tmp_path / "some.json")
    assert alone["metrics"]["mean_recall"] == pytest.approx(some["metrics"]["mean_recall"])


def test_quick_run_and_a_head_that_is_not_there(run, run_tool, tmp_path):
    run_tool("evaluate", "retrieval", *run, "--quick", "--json", tmp_path / "quick.json")
    assert json.loads((tmp_path / "quick.json").read_text())["quick"]
    assert read(tmp_path / "quick.json")[0]["n"] == 32
    with pytest.raises(SystemExit, match="the objectives of the run that score pairs are itm"):
        run_tool("evaluate", "retrieval", *run, "--head", "wra")
    (tmp_path / "x.txt").write_text("a run\n")
    with pytest.raises(SystemExit, match=r"x\.txt is no run: it has no section 'data'"):
        run_tool("evaluate", "retrieval", *run, "--run", tmp_path / "x.txt")
