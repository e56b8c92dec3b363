"""Masked words and regions train alike on one process, DDP and FSDP2: ragged batches, tied heads, one loss or two."""

import pytest
import pytorch_lightning as pl
import torch
from pretraining import FIRST, MASK, full, take
from ranks import run_ranks
from streams import build
from tiny import Losses, trainer
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from vl.corrupt import RegionMasking, TokenMasking
from vl.objectives.mlm import MLM
from vl.objectives.mrfr import MRFR
from vl.train import strategies
from vl.train.module import Training
from vl.train.optim import AdamW

#: The objectives of each step: both at once, then one at a time.
PLAN = [("mlm", "mrfr"), ("mlm", "mrfr"), ("mrfr",), ("mlm",), ("mrfr",), ("mlm",)]


class Ragged:
    """A step's global batch of six examples, of which a rank takes every `ranks`-th."""

    def __init__(self, rank, ranks):
        self.rank, self.ranks = rank, ranks

    def __len__(self):
        return len(PLAN)

    def __iter__(self):
        for step, objectives in enumerate(PLAN):
            batch = full(seed=step + 1)
            own = take(batch, slice(self.rank, None, self.ranks))
            yield [type(own)(**{**vars(own), "objectives": objectives})]

    def state_dict(self):
        return {}


class RaggedData(pl.LightningDataModule):
    def train_dataloader(self):
        return Ragged(self.trainer.global_rank, self.trainer.world_size)


def fit(strategy="auto", ranks=1):
    """Losses of the steps, and the weights after them."""
    strategies.register()
    model = build("uniter")
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    torch.manual_seed(0)
    objectives = {
        "mlm": MLM(TokenMasking(MASK, FIRST, prob=0.4)),
        "mrfr": MRFR(RegionMasking(prob=0.4, zero=0.8, random=0.1)),
    }
    # With its usual eps, Adam would turn the rounding of a gradient that is all but zero into a step.
    module = Training(model, objectives, AdamW(lr=1e-2, eps=1e-4, warmup=2, clip_norm=1.0))
    losses = Losses()
    run = trainer(callbacks=[losses], devices=ranks, strategy=strategy)
    run.fit(module, datamodule=RaggedData())
    heads = module.objectives
    assert heads["mlm"].head.decoder.weight is module.model.word_embedding.weight
    assert heads["mrfr"].head.weight is module.model.visual_projection.weight
    if strategy == "fsdp2":
        assert all(isinstance(parameter, DTensor) for parameter in module.parameters() if parameter.requires_grad)
    return losses.values, {name: whole(parameter) for name, parameter in module.named_parameters()}


def whole(parameter):
    return (parameter.full_tensor() if isinstance(parameter, DTensor) else parameter).detach().clone()


@pytest.fixture(scope="module")
def alone():
    return fit()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_ranks_train_like_one(alone, strategy):
    losses, weights = alone
    assert len(losses) == len(PLAN)
    for their_losses, their_weights in run_ranks(fit, strategy, 2):
        assert their_losses == pytest.approx(losses, rel=1e-5)
        assert their_weights.keys() == weights.keys()
        for name, value in weights.items():
            assert_close(their_weights[name], value, rtol=1e-4, atol=2e-5)
