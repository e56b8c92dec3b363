"""Contrast over ranks: the gradient must be the one of a single process with the whole batch.

The value of the loss says nothing here: wrong formulations have the right one.
"""

from dataclasses import replace
from math import log

import pytest
import torch
from ranks import run_ranks
from torch import distributed, nn
from torch.nn import functional as F

from vl.batch import Batch, Encoded
from vl.models.base import VLModel
from vl.objectives.itc import ITC
from vl.objectives.sigmoid_itc import SigmoidITC
from vl.train.whole_batch import select

BATCH = 12


class Towers(VLModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(6, 8), nn.Linear(6, 8)
        self.logit_scale, self.logit_bias = nn.Parameter(torch.full((1,), 2.0)), nn.Parameter(torch.full((1,), -3.0))

    def forward(self, rows):
        x = torch.randn(2, BATCH, 6, generator=torch.Generator().manual_seed(1))[:, rows]
        image, text = F.normalize(self.image(x[0]), dim=1), F.normalize(self.text(x[1]), dim=1)
        return Encoded(image_emb=image, text_emb=text, logit_scale=self.logit_scale.exp(), logit_bias=self.logit_bias)


def vl_loss(objective, output):
    loss = objective(output, Batch(), None)
    return loss.total / BATCH * (distributed.get_world_size() if distributed.is_initialized() else 1)


def with_false_texts(output):
    """As if each picture had a second text, which is false of it."""
    own = output.text_emb
    return replace(output, text_emb=torch.stack([own, own.flip(1)], dim=1).flatten(0, 1))


def false_texts_loss(objective, output):
    return vl_loss(objective, with_false_texts(output))


def open_clip_loss(options, output):
    from open_clip.loss import ClipLoss  # Slow to import: not in every rank.

    group = distributed.is_initialized()
    world = {"rank": distributed.get_rank(), "world_size": distributed.get_world_size()} if group else {}
    return ClipLoss(**options, **world)(output.image_emb, output.text_emb, output.logit_scale)


def gradient(loss, spec):
    """The gradient, averaged over ranks as DDP does; every rank has the same number of consecutive rows."""
    group = distributed.is_initialized()
    rank, ranks = (distributed.get_rank(), distributed.get_world_size()) if group else (0, 1)
    size, towers = BATCH // ranks, Towers()
    loss(spec, towers(slice(rank * size, (rank + 1) * size))).backward()
    found = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in towers.parameters()])
    if group:
        distributed.all_reduce(found)
    return found / ranks


def error(loss, spec, ranks):
    whole = gradient(loss, spec)
    return max(float((found - whole).norm() / whole.norm()) for found in run_ranks(gradient, loss, spec, ranks=ranks))


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    "objective", [ITC(), ITC(chunk=3, label_smoothing=0.1), SigmoidITC(), SigmoidITC(chunk=3)], ids=repr
)
def test_gradients_over_ranks_are_those_of_the_whole_batch(objective, ranks):
    assert error(vl_loss, objective, ranks) < 1e-5


@pytest.mark.parametrize("chunk", [None, 3])
def test_gradients_over_ranks_with_false_texts(chunk):
    assert error(false_texts_loss, ITC(chunk=chunk), 2) < 1e-5


def test_false_texts_are_negatives_of_every_picture_and_seek_none():
    output = with_false_texts(Towers()(slice(BATCH)))
    logits = output.logit_scale * output.image_emb @ output.text_emb.T
    own = torch.arange(0, 2 * BATCH, 2)
    # Row by row: -log of the share that a picture's own text has among all texts, and the picture among all pictures.
    to_text = sum(logits[i].logsumexp(0) - logits[i, 2 * i] for i in range(BATCH))
    to_image = sum(logits[:, j].logsumexp(0) - logits[i, j] for i, j in enumerate(own))
    loss = ITC()(output, Batch(), None)
    torch.testing.assert_close(loss.total, ((to_text + to_image) / 2).squeeze())
    assert int(loss.count) == BATCH


def test_evaluation_keeps_an_examples_texts_together():
    output = with_false_texts(Towers()(slice(BATCH)))
    chosen = select(output, BATCH, torch.tensor([3, 1]))
    assert torch.equal(chosen.image_emb, output.image_emb[[3, 1]])
    assert torch.equal(chosen.text_emb, output.text_emb[[6, 7, 2, 3]])


@pytest.mark.parametrize("ranks", [2, 3])
def test_this_check_fails_on_open_clips_default(ranks):
    assert error(open_clip_loss, {}, ranks) > 0.1
    assert error(open_clip_loss, {"local_loss": True, "gather_with_grad": True}, ranks) < 1e-5


def test_one_process_agrees_with_open_clip():
    assert torch.allclose(gradient(vl_loss, ITC()), gradient(open_clip_loss, {}), rtol=1e-5, atol=1e-7)


def test_accuracy_counts_rows_that_find_their_own():
    eye = torch.eye(4)
    output = Encoded(image_emb=eye, text_emb=eye[[0, 1, 3, 2]], logit_scale=torch.ones(1))
    assert ITC()(output, Batch()).metrics["image_to_text/accuracy"] == (2, 4)


def test_the_temperature_stays_below_its_bound():
    towers = Towers()
    with torch.no_grad():
        towers.logit_scale.fill_(7.0)
    ITC().after_step(towers)
    assert towers.logit_scale.item() == pytest.approx(log(100))
