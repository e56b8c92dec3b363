"""The debug runs on scenes: they train on shards of regions, and their losses stay what they are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from region_shards import record, write_region_shards
from test_configs import Built, Losses, integers
from torch.utils.data import DataLoader

from vl.batch import Batch, Text, Visual
from vl.data.vocabulary import train_tokenizer
from vl.draw import Draw
from vl.train.cli import main

DEBUG = Path(__file__).parents[1] / "configs/debug"
#: Losses of five steps. A change of the numerics changes them, and says so in the CHANGELOG.
GOLDEN = {
    "uniter_scenes": [8.326557, 1.993486, 0.840120, 7.003653, 0.699069],
    "vilbert_scenes": [7.255026, 20.705837, 14.628803, 0.712285, 7.204377],
    "lxmert_scenes": [11.098970, 20.777880, 14.942718, 0.686419, 5.727808],
    "visualbert_scenes": [7.085425, 0.730369, 7.004129, 7.674899, 6.735081],
}


def batch_of(step, objectives, size=12):
    """Texts and regions of different lengths, made from integers."""
    length, count = 14, 11
    ends = torch.arange(size) % 9 + 4
    place = torch.arange(length)
    mask = place <= ends[:, None]
    inside = (place > 0) & (place < ends[:, None])
    ids = integers(size, length, modulus=900, salt=step + 3) + 5
    text = Text(ids * mask, mask, words=torch.where(inside, place - 1, -1))
    corners = integers(size, count, 2, 2, modulus=97, salt=step + 5).sort(dim=2).values / 97
    shares = [integers(size, count, classes, modulus=50, salt=step + classes) + 1.0 for classes in (112, 9)]
    shares = [share / share.sum(-1, keepdim=True) for share in shares]
    visual = Visual(
        features=(integers(size, count, 512, modulus=201, salt=step + 1) - 100) / 50,
        boxes=corners.flatten(2),
        mask=torch.arange(count) < torch.arange(size)[:, None] % 7 + 5,
        class_probs=shares[0],
        attribute_probs=shares[1],
        confidence=1 - shares[0][..., 0],
    )
    return Batch(
        text=text,
        visual=visual,
        matched=torch.arange(size) % 3 > 0,
        keys=tuple(map(str, range(size))),
        draw=Draw.of(0, step, 0, torch.arange(size)),
        targets={"answers": tuple((("yes", "no")[i % 2],) for i in range(size))},
        objectives=objectives,
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_five_steps_have_their_losses(tmp_path, name):
    file = DEBUG / f"{name}.yaml"

    class Parsed(Built):
        def instantiate_classes(self):
            self.config.fit.data.tokenizer = None  # its file may not have been made yet
            self.model = self._parser("fit").instantiate_classes(self.config.fit).model

    training = Parsed(["fit", "--config", str(file)], [str(file)]).model
    with torch.no_grad():
        for salt, (part, parameter) in enumerate(training.named_parameters()):
            if part.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim > 1:
                values = integers(*parameter.shape, modulus=201, salt=salt + 1) - 100
                parameter.copy_(values / 100 * parameter.shape[-1] ** -0.5)
    if "answers" in training.objectives:
        training.objectives["answers"].__dict__["table"] = {"yes": 0, "no": 1}
    for words in training.objectives.keys() & {"mlm", "relations", "checked"}:
        content = tmp_path / f"{words}.json"
        content.write_text(json.dumps(list(range(500, 1000))))
        training.objectives[words].masking = replace(training.objectives[words].masking, content=str(content))
    sources = yaml.safe_load(file.read_text())["data"]["train"]
    trained = list(dict.fromkeys(tuple(source["init_args"].get("objectives", ())) for source in sources))
    steps = [[batch_of(step, trained[step % len(trained)])] for step in range(5)]
    losses = Losses()
    trainer = pl.Trainer(
        max_steps=5, accelerator="cpu", callbacks=[losses], default_root_dir=tmp_path, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer.fit(training, DataLoader(steps, batch_size=None, collate_fn=lambda step: step))
    finally:
        torch.set_num_threads(threads)
    assert losses.seen == pytest.approx(GOLDEN[name], rel=1e-4), losses.seen


@pytest.mark.parametrize("name", GOLDEN)
def test_trains_on_shards(tmp_path, name):
    """Two steps and a validation on the run's own sources, read from shards of regions."""
    write_region_shards(tmp_path / "regions", "train", classes=112, features=512)
    write_region_shards(tmp_path / "regions", "val", count=30, classes=112, features=512)
    texts = [caption["text"] for number in range(60) for caption in record(number)["captions"]]
    (tmp_path / "tokenizer.json").write_text(train_tokenizer(texts, 200).to_str())
    (tmp_path / "answers.json").write_text('["yes", "no"]')
    (tmp_path / "content.json").write_text("[20, 21, 22]")
    (tmp_path / "relations.json").write_text("[20, 21]")
    text = (DEBUG / f"{name}.yaml").read_text()
    text = text.replace("data/scenes-regions/", f"{tmp_path}/regions/").replace("runs/scenes/", f"{tmp_path}/")
    text = re.sub(r"(kinds|opposites): \[[^]]+\]", r"\1: [attribute]", text)
    run = yaml.safe_load(text.replace("-scenes-*", "-*"))
    run["data"] |= {"batch_size": 8, "num_workers": 0}
    run["trainer"] |= {"max_steps": 6, "val_check_interval": 6, "default_root_dir": str(tmp_path / "run")}
    run["trainer"] |= {"devices": 1, "strategy": "auto"}
    run["trainer"] |= {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    run["trainer"]["callbacks"] = [{"class_path": "vl.train.logging.StepLog"}]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    main(["fit", "--config", str(tmp_path / "run.yaml")])
    assert len((tmp_path / "run/steps.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16-mixed"), (False, 32)])
def test_bf16_is_used_where_the_processor_has_it(monkeypatch, has, precision):
    monkeypatch.setattr("vl.train.command.has_bf16", lambda: has)
    file = str(DEBUG / "uniter_scenes.yaml")
    trainer = Built(["fit", "--config", file, "--trainer.precision", "32"], [file]).config.fit.trainer
    assert str(trainer.precision) == str(precision)
