"""The data module under a real Trainer: exact resume at any step, refusal by name, every example validated once."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from vl.data.mixture import Source, compare
from vl.data.module import ShardData
from vl.data.order import LengthBuckets, Shuffle, TokenBudget
from vl.data.shards import ShardWriter
from vl.data.stages import HorizontalFlip, ImageStage, RandomResizedCrop
from vl.data.tokenizers import ClipTokenizer
from vl.data.views.caption import CaptionView


class Recorder(LightningModule):
    """Trains one number and writes down the keys of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.steps: list[list[tuple[str, ...]]] = []
        self.validated: dict[int, list[str]] = {}

    def training_step(self, batches, _):
        self.steps.append([batch.keys for batch in batches])
        return sum((self.weight * batch.visual.pixels.float().mean()).sum() for batch in batches)

    def validation_step(self, batch, _, dataloader_idx=0):
        self.validated.setdefault(dataloader_idx, []).extend(batch.keys)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    generator = np.random.default_rng(0)
    for name, count in (("train-a", 30), ("train-b", 21), ("val", 13)):
        with ShardWriter(folder, name, max_count=9) as writer:
            for number in range(count):
                file = io.BytesIO()
                Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(file, "PNG")
                text = " ".join(["word"] * int(generator.integers(1, 12)))
                writer.write(f"{name}-{number}", {"png": file.getvalue(), "txt": text})
    return folder


def data(shards: Path, **changes) -> ShardData:
    settings = {
        "train": [
            Source(f"{shards}/train-a-*.tar", CaptionView(), name="a", weight=2.0),
            Source(f"{shards}/train-b-*.tar", CaptionView(), name="b"),
        ],
        "val": {"a": Source(f"{shards}/val-*.tar", CaptionView(choose="all"))},
        "tokenizer": ClipTokenizer(),
        "image": ImageStage(8, crop=RandomResizedCrop(), augment=[HorizontalFlip()]),
        "batch_size": 4,
    }
    return ShardData(**{**settings, **changes})


def trainer(folder: Path, **options) -> Trainer:
    saver = ModelCheckpoint(folder / "saved", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    return Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, logger=False, callbacks=[saver],
        enable_progress_bar=False, enable_model_summary=False, **{"max_steps": 25, **options},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("order", "options"),
    [(Shuffle(window=2), {}), (LengthBuckets(pool=2), {"limit_train_batches": 7}), (TokenBudget(40, multiple=2), {})],
)
@pytest.mark.filterwarnings("ignore")
def test_a_run_resumed_at_any_step_sees_exactly_the_next_examples(shards, tmp_path, order, options):
    whole = Recorder()
    trainer(tmp_path, **options).fit(whole, data(shards, order=order))
    assert len(whole.steps) == 25
    for step in (6, 7, 12, 13):
        resumed = Recorder()
        again = data(shards, order=order, accumulate=2)
        trainer(tmp_path / "again", **options).fit(resumed, again, ckpt_path=tmp_path / "saved" / f"step={step}.ckpt")
        keys = [sum(step, ()) for step in resumed.steps]
        assert keys == [sum(step, ()) for step in whole.steps[step:]], f"resumed at step {step}"
        assert {len(step) for step in resumed.steps} == {2}


@pytest.mark.filterwarnings("ignore")
def test_a_resume_that_disagrees_is_refused_by_name(shards, tmp_path):
    trainer(tmp_path, max_steps=3).fit(Recorder(), data(shards))
    saved = tmp_path / "saved" / "step=3.ckpt"
    train = data(shards).train
    changes = [
        ({"seed": 1}, r"seed: the checkpoint has 0, this run 1"),
        ({"batch_size": 8}, r"batch_size: the checkpoint has 4, this run 8"),
        ({"order": Shuffle(window=3)}, r"order: .*window=16.*window=3"),
        ({"tokenizer": ClipTokenizer(context_length=9)}, r"tokenizer: "),
        ({"image": ImageStage(8)}, r"image: .*RandomResizedCrop"),
        ({"train": train[:1]}, r"(?s)shards of b: .*sources: .*a, b"),
        (
            {"train": [Source(f"{shards}/train-a-*0.tar", CaptionView(), name="a", weight=2.0), train[1]]},
            "shards of a: ",
        ),
    ]
    for change, message in changes:
        with pytest.raises(ValueError, match=message):
            trainer(tmp_path / "again").fit(Recorder(), data(shards, **change), ckpt_path=saved)
    run = trainer(tmp_path / "again", max_steps=5)
    with pytest.warns(UserWarning, match="resumed with other data: seed"):
        run.fit(Recorder(), data(shards, seed=1, allow_changes=True), ckpt_path=saved)
    assert run.global_step == 5


@pytest.mark.filterwarnings("ignore")
def test_validation_sees_every_example_once_under_its_name(shards, tmp_path):
    recorder, module = Recorder(), data(shards, val={n: Source(f"{shards}/val-*.tar", CaptionView()) for n in "xy"})
    trainer(tmp_path).validate(recorder, module)
    assert list(module.val_dataloader()) == ["x", "y"]
    assert {index: sorted(keys) for index, keys in recorder.validated.items()} == {
        index: sorted(f"val-{number}" for number in range(13)) for index in (0, 1)
    }


def test_training_is_random_and_evaluation_is_not(shards):
    module = data(shards)
    assert module.eval_image is not None
    assert module.eval_image.augment == ()
    batch = next(iter(module.val_dataloader()["a"]))
    assert len(batch) == 4
    assert next(iter(module.train_dataloader()))[0].visual.pixels.dtype == torch.uint8


def test_a_missing_shard_is_named(shards):
    with pytest.raises(ValueError, match=r"nowhere-000000.tar"):
        data(shards, train=[Source(f"{shards}/nowhere-000000.tar", CaptionView())]).prepare_data()


def test_the_constructor_is_the_schema(shards, tmp_path):
    parser = ArgumentParser()
    parser.add_class_arguments(ShardData, "data")
    cache = {"class_path": "vl.data.remote.ShardCache", "init_args": {"folder": str(tmp_path), "max_bytes": 10}}
    view = {"class_path": "vl.data.views.caption.CaptionView"}
    tree = {
        "train": [{"shards": f"{shards}/train-a-*.tar", "view": view, "cache": cache}],
        "tokenizer": {"class_path": "vl.data.tokenizers.ClipTokenizer", "init_args": {"context_length": 32}},
        "image": {
            "size": 8,
            "crop": {"class_path": "vl.data.stages.RandomResizedCrop", "init_args": {"scale": [0.5, 1.0]}},
            "augment": [{"class_path": "vl.data.stages.HorizontalFlip"}],
        },
        "order": {"class_path": "vl.data.order.LengthBuckets", "init_args": {"pool": 4}},
        "batch_size": 4,
    }
    module = parser.instantiate(parser.parse_object({"data": tree})).data
    assert module.order == LengthBuckets(pool=4)
    assert module.image.crop == RandomResizedCrop(scale=(0.5, 1.0))
    assert module.tokenizer.context_length == 32
    assert module.train[0].cache.max_bytes == 10
    assert len(next(iter(module.train_dataloader()))[0]) == 4


def test_differences_of_fingerprints():
    assert compare({"seed": 0, "a": 1}, {"seed": 0, "a": 1}) == []
    assert compare({"seed": 0, "old": "x"}, {"seed": 1}) == [
        "old: the checkpoint has x, this run none",
        "seed: the checkpoint has 0, this run 1",
    ]
