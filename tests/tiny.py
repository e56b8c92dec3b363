"""A model of a few thousand weights and batches made from numbers, for tests of training."""

from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from vl.batch import Batch, Encoded, Text, Visual
from vl.draw import Draw
from vl.models.base import VLModel
from vl.objectives.itc import ITC
from vl.train.module import Training
from vl.train.optim import AdamW

EXAMPLES = 96


class Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.linear, self.dropout = nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x):
        return x + self.dropout(F.gelu(self.linear(self.norm(x))))


class Tiny(VLModel):
    """Pixels and a bag of words, each through two blocks."""

    provides = frozenset({"text_emb", "image_emb", "logit_scale"})
    block_classes = (Block,)
    width = 16

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.words, self.pixels = nn.Embedding(50, 16), nn.Linear(12, 16)
        self.text = nn.Sequential(Block(16, dropout), Block(16, dropout))
        self.image = nn.Sequential(Block(16, dropout), Block(16, dropout))
        self.logit_scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, batch: Batch) -> Encoded:
        words = self.words(batch.text.ids).mean(1)
        pixels = self.pixels(batch.visual.pixels.float().flatten(1) / 255)
        return Encoded(
            text_emb=F.normalize(self.text(words), dim=1),
            image_emb=F.normalize(self.image(pixels), dim=1),
            logit_scale=self.logit_scale.exp(),
        )


def batch_of(examples: list[int], broken: int | None = None) -> Batch:
    """The batch of some of the examples; the pixels of `broken` are not numbers."""
    ids = torch.tensor([[(7 * e + k) % 50 for k in range(4)] for e in examples]).reshape(-1, 4)
    pixels = torch.tensor([[(31 * e + 5 * k * e + k * k) % 256 for k in range(12)] for e in examples])
    pixels = pixels.reshape(-1, 3, 2, 2).float()
    if broken in examples:
        pixels[examples.index(broken)] = float("nan")
    return Batch(
        text=Text(ids, torch.ones_like(ids, dtype=torch.bool)),
        visual=Visual(pixels=pixels),
        keys=tuple(f"sample{e}" for e in examples),
        draw=Draw.of(0, 0, 0, torch.tensor(examples, dtype=torch.long)),
    )


class Steps:
    """Training batches: per step the micro-batches of this rank, rows rank::ranks of a global batch."""

    def __init__(self, rank: int, ranks: int, batch_size: int, accumulate: int, steps: int, broken: int | None) -> None:
        self.rank, self.ranks, self.batch_size, self.steps = rank, ranks, batch_size, steps
        self.accumulate, self.broken, self.first = accumulate, broken, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Batch]]:
        for step in range(self.first, self.steps):
            self.first = (step + 1) % self.steps
            rows = [(step * self.batch_size + i) % EXAMPLES for i in range(self.batch_size)][self.rank :: self.ranks]
            size = len(rows) // self.accumulate
            yield [batch_of(rows[m * size : (m + 1) * size], self.broken) for m in range(self.accumulate)]

    def state_dict(self):
        return {"first": self.first}

    def load_state_dict(self, state):
        self.first = state["first"]


class Evaluation:
    """Batches of this rank; the length is the fullest rank's, for Lightning skips the evaluation of an empty one."""

    def __init__(self, batches: list[Batch], length: int) -> None:
        self.batches, self.length = batches, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class Data(pl.LightningDataModule):
    """`Steps`, and a validation set of `val` examples in batches of `val_batch`, rows rank::ranks of each."""

    def __init__(self, batch_size=12, accumulate=1, steps=20, broken=None, val=0, val_batch=8) -> None:
        super().__init__()
        self.options, self.val, self.val_batch = (batch_size, accumulate, steps, broken), val, val_batch

    def train_dataloader(self):
        return Steps(self.trainer.global_rank, self.trainer.world_size, *self.options)

    def val_dataloader(self):
        return self.evaluation(self.trainer.global_rank, self.trainer.world_size)

    def evaluation(self, rank, ranks):
        starts = range(0, self.val, self.val_batch)
        rows = [list(range(i, min(i + self.val_batch, self.val)))[rank::ranks] for i in starts]
        return Evaluation([batch_of(part) for part in rows if part], len(rows))


class Losses(pl.Callback):
    """The losses of the steps."""

    def __init__(self) -> None:
        self.values = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.values.append(float(trainer.callback_metrics["train/loss"]))


class SaveAt(pl.Callback):
    """Saves after one of the steps."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def training(dropout: float = 0.0, seed: int = 0, **options) -> Training:
    torch.manual_seed(seed)
    options = {"objectives": {"itc": ITC()}, "optimizer": AdamW(lr=1e-2, warmup=3), **options}
    return Training(Tiny(dropout), **options)


def trainer(**options) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return pl.Trainer(**{"devices": 1, "enable_model_summary": False, "max_epochs": 1, **quiet, **options})
