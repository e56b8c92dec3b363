"""A tiny run for tests: shards of coloured squares, and a YAML that trains a tiny CLIP on them."""

import io
import json
import os
import signal
from pathlib import Path

import torch
import yaml
from PIL import Image
from pytorch_lightning import Callback
from torch import nn
from torch.nn import functional

from vl.batch import Loss
from vl.data.shards import ShardWriter
from vl.tasks.base import Task

COLOURS = ("red", "green", "blue", "yellow", "black", "purple", "orange", "grey")
DEBUG = Path(__file__).parents[1] / "configs/debug/clip.yaml"


def write_shards(
    folder: Path, name: str = "train", count: int = 96, per_shard: int = 24, broken: tuple[int, ...] = ()
) -> str:
    """Squares that differ in colour and size, each with two captions; returns the shards' pattern.

    Of the pictures that are `broken` only the first half is there.
    """
    with ShardWriter(folder, name, max_count=per_shard) as writer:
        for i in range(count):
            picture = Image.new("RGB", (40, 36), COLOURS[i % 8])
            picture.paste("white", (0, 0, i // 8 + 4, i // 8 + 4))
            buffer = io.BytesIO()
            picture.save(buffer, "png")
            captions = [{"text": f"a {COLOURS[i % 8]} square"}, {"text": f"number {i} is {COLOURS[i % 8]}"}]
            data = buffer.getvalue()
            png = data[: len(data) // 2] if i in broken else data
            writer.write(f"{name}{i:04d}", {"png": png, "json": {"captions": captions}})
    return f"{folder}/{name}-*.tar"


def write_run(folder: Path, *callbacks: dict, **changes: object) -> Path:
    """The debug run on such shards, small, with dropout and random crops; `changes` are dotted keys with `__`."""
    tree = yaml.safe_load(DEBUG.read_text())
    shards = folder / "shards"
    if not shards.exists():
        write_shards(shards)
        write_shards(shards, "val", count=37)
    tree["data"]["train"][0]["init_args"]["shards"] = f"{shards}/train-*.tar"
    tree["data"]["val"]["emoji"]["init_args"]["shards"] = f"{shards}/val-*.tar"
    tree["data"]["batch_size"] = 8
    tree["model"]["model"]["init_args"]["image"]["init_args"]["config"]["vision_cfg"]["patch_dropout"] = 0.25
    tree["data"]["image"]["init_args"]["crop"] = {"class_path": "vl.data.stages.RandomResizedCrop"}
    tree["trainer"] |= {"max_steps": 8, "val_check_interval": 5, "default_root_dir": str(folder / "run")}
    tree["trainer"] |= {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    tree["trainer"]["callbacks"] = [{"class_path": "vl.train.logging.StepLog"}, *callbacks]
    tree["checkpoint"] = {"every_steps": 2}
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        branch = tree
        for key in path:
            branch = branch[int(key)] if isinstance(branch, list) else branch.setdefault(key, {})
        branch[last] = value
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def read_steps(folder: Path) -> dict[int, tuple[float, list[str]]]:
    """Loss and keys of each step of a run; of a step that was trained twice, the last."""
    lines = [json.loads(line) for line in (folder / "run/steps.jsonl").read_text().splitlines()]
    return {line["step"]: (line["loss"], line["keys"]) for line in lines}


class IsRed(Task):
    """Is the picture more red than green?"""

    needs = frozenset({"image_emb"})

    def setup(self, model) -> None:
        self.head = nn.Linear(model.width, 1)

    def forward(self, output, batch, target) -> Loss:
        colours = batch.visual.pixels.float().mean((2, 3))
        red = (colours[:, 0] > colours[:, 1]).float()
        losses = functional.binary_cross_entropy_with_logits(self.head(output.image_emb)[:, 0], red, reduction="none")
        return Loss(losses.sum(), torch.tensor(len(losses)))

    def answer(self, output, batch) -> list[dict]:
        probs = self.head(output.image_emb)[:, 0].sigmoid().tolist()
        return [{"key": key, "prob": prob} for key, prob in zip(batch.keys, probs, strict=True)]


class Kill(Callback):
    """Ends its process by a signal after a step, as an outage would.

    Args:
        step: The step after which.
        rank: The rank that is hit.
        number: The signal.
        saving: Hit while the checkpoint of that step is being written, instead.
    """

    def __init__(self, step: int, rank: int = 0, number: int = int(signal.SIGKILL), saving: bool = False) -> None:
        self.step, self.rank, self.number, self.saving = step, rank, number, saving

    def on_train_batch_end(self, trainer, *_) -> None:
        if not self.saving and trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)

    def on_save_checkpoint(self, trainer, module, checkpoint) -> None:
        if self.saving and trainer.global_step == self.step:
            half = Path(trainer.default_root_dir) / f"checkpoints/step_{self.step:08d}.ckpt.tmp"
            half.write_bytes(b"half a file")
            os.kill(os.getpid(), self.number)


class Fail(Callback):
    """Raises on one rank after a step."""

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            raise ValueError(f"rank {self.rank} ran out of paper")
