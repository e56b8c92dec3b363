"""Contrastive losses against a slow loop, a case computed by hand, and their chunked form."""

from math import exp, log

import pytest
import torch
from torch.nn import functional as F

from vl.losses.contrastive import info_nce, sigmoid_loss

SCALE = torch.tensor([5.0])
BIAS = torch.tensor([-2.0])


def features(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def logit(row, column):
    return float(SCALE) * sum(float(a) * float(b) for a, b in zip(row, column, strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_info_nce_equals_a_slow_loop(smoothing):
    rows, columns = features(5, 0), features(11, 1)
    total = hits = 0.0
    for i, row in enumerate(rows):
        logits = [logit(row, column) for column in columns]
        logps = [x - log(sum(map(exp, logits))) for x in logits]
        total -= (1 - smoothing) * logps[3 + i] + smoothing * sum(logps) / len(logps)
        hits += max(range(11), key=logits.__getitem__) == 3 + i
    found = info_nce(rows, columns, SCALE, offset=3, label_smoothing=smoothing)
    assert [float(x) for x in found] == pytest.approx([total, hits], rel=1e-5)


def test_sigmoid_loss_equals_a_slow_loop():
    rows, columns = features(5, 0), features(11, 1)
    total = 0.0
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            sign = 1 if j == 3 + i else -1
            total += log(1 + exp(-sign * (logit(row, column) + float(BIAS))))
    assert float(sigmoid_loss(rows, columns, SCALE, BIAS, offset=3)[0]) == pytest.approx(total, rel=1e-5)


def test_by_hand():
    """Orthogonal pairs at scale log 3: each row's softmax is 3/4 to 1/4."""
    eye, scale = torch.eye(2), torch.tensor([log(3)])
    assert float(info_nce(eye, eye, scale)[0]) == pytest.approx(2 * log(4 / 3))
    assert float(info_nce(eye, eye.flip(0), scale)[0]) == pytest.approx(2 * log(4))
    assert float(sigmoid_loss(eye, eye, scale, torch.zeros(1))[0]) == pytest.approx(2 * log(4 / 3) + 2 * log(2))


@pytest.mark.parametrize("loss", [info_nce, lambda *a, **k: sigmoid_loss(*a, BIAS, **k)])
def test_chunks_are_exact_in_value_and_gradient(loss):
    found = []
    for chunk in (None, 4):
        leaves = [features(10, 0).requires_grad_(), features(12, 1).requires_grad_(), SCALE.clone().requires_grad_()]
        total, hits = loss(*leaves, offset=1, chunk=chunk)
        found.append([total, hits, *torch.autograd.grad(total, leaves)])
    for whole, chunked in zip(*found, strict=True):
        torch.testing.assert_close(chunked, whole)


def test_logits_are_float32_under_autocast():
    rows, columns = features(6, 0), features(6, 1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = info_nce(rows, columns, SCALE)[0]
    assert torch.equal(inside, info_nce(rows, columns, SCALE)[0])
