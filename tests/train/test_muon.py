"""Muon: whom it is for, what a step is, and that ranks agree."""

import pytest
import torch
from ranks import run_ranks
from tiny import Data, Losses, SaveAt, Tiny, trainer, training
from torch import nn

from vl.train import strategies
from vl.train.muon import Muon, MuonAdamW, orthogonal


def test_it_is_for_the_matrices_of_blocks():
    module = nn.Module()
    module.model, module.objectives = Tiny(), nn.ModuleDict({"itc": nn.Linear(2, 2)})
    groups = Muon(lr=1e-3, weight_decay=0.1).groups(module, module.model)
    found = {name for group in groups if group.orthogonal for name in group.names}
    assert found == {f"model.{tower}.{i}.linear.weight" for tower in ("text", "image") for i in (0, 1)}
    assert all(str(group).startswith("Muon, lr 0.001, decay 0.1") for group in groups if group.orthogonal)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, s, v = torch.linalg.svd(orthogonal(matrix), full_matrices=False)
    assert s.min() > 0.67
    assert s.max() < 1.21
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close((u * s) @ v, left @ torch.diag(torch.diag(left.T @ (u * s) @ v @ right.T)) @ right)
    assert orthogonal(torch.zeros(shape)).abs().max() == 0


def test_steps_are_those_of_torch():
    """torch's Muon, which rounds to bf16, for the matrix; torch's AdamW for the vector."""
    torch.manual_seed(0)
    start, bias = torch.randn(24, 8), torch.randn(24)
    ours, theirs = ([nn.Parameter(start.clone()), nn.Parameter(bias.clone())] for _ in range(2))
    both = MuonAdamW([{"params": ours[:1], "orthogonal": True}, {"params": ours[1:], "orthogonal": False}], lr=0.01)
    peers = [
        torch.optim.Muon(theirs[:1], lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(theirs[1:], lr=0.01, weight_decay=0.01),
    ]
    for _ in range(5):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn_like(own)
            other.grad = own.grad.clone()
        both.step()
        for peer in peers:
            peer.step()
    moved = (ours[0] - start).abs().max()
    assert (ours[0] - theirs[0]).abs().max() < 0.02 * moved
    torch.testing.assert_close(ours[1], theirs[1])
    assert set(both.state[ours[0]]) == {"step", "momentum_buffer"}


def fit(strategy="auto", ranks=1, save=None, resume=None):
    strategies.register()
    losses = Losses()
    run = trainer(callbacks=[losses, *([SaveAt(*save)] if save else [])], devices=ranks, strategy=strategy)
    run.fit(training(optimizer=Muon(lr=1e-2, warmup=3)), datamodule=Data(), ckpt_path=resume)
    return losses.values


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_ranks_step_like_one_and_resume(strategy, tmp_path):
    alone, file = fit(), tmp_path / ("ten.ckpt" if strategy == "ddp" else "ten")
    assert alone[-1] < alone[0]
    for losses in run_ranks(fit, strategy, 2, (10, file)):
        assert losses == pytest.approx(alone, rel=1e-4)
    for losses in run_ranks(fit, strategy, 2, None, file):
        assert losses == pytest.approx(alone[10:], rel=1e-4)
