"""Losses of masked words and regions against slow loops and figures made by hand."""

from math import log

import pytest
import torch
from torch.testing import assert_close

from vl.losses.masked import cross_entropy, feature_distance, hits, kl_divergence, noise_contrastive, top_class


def softmax(row):
    exps = [float(x.exp()) for x in row - row.max()]
    return [x / sum(exps) for x in exps]


def test_by_hand():
    even = torch.zeros(2, 4)
    assert_close(cross_entropy(even, torch.tensor([0, 3])), torch.full((2,), log(4)))
    sure = torch.tensor([[1.0, 0, 0, 0]])
    assert_close(kl_divergence(even[:1], sure), torch.tensor([log(4)]))
    half = torch.tensor([[0.5, 0.5, 0, 0]])
    assert_close(kl_divergence(even[:1], half), torch.tensor([log(2)]))
    assert_close(kl_divergence(half.log().clamp(min=-50), half), torch.zeros(1), atol=1e-6, rtol=0)
    assert_close(feature_distance(torch.tensor([[3.0, 0]]), torch.tensor([[0.0, 0.5]])), torch.tensor([9.25 / 2]))
    smooth = feature_distance(torch.tensor([[3.0, 0]]), torch.tensor([[0.0, 0.5]]), "smooth_l1")
    assert_close(smooth, torch.tensor([(2.5 + 0.125) / 2]))


def test_slow_loops():
    torch.manual_seed(0)
    logits, probs, labels = torch.randn(7, 5), torch.rand(7, 5).softmax(1), torch.randint(0, 5, (7,))
    for row in range(7):
        p = softmax(logits[row])
        assert float(cross_entropy(logits, labels)[row]) == pytest.approx(-log(p[labels[row]]), rel=1e-5)
        kl = sum(float(q) * (log(float(q)) - log(p[c])) for c, q in enumerate(probs[row]))
        assert float(kl_divergence(logits, probs)[row]) == pytest.approx(kl, rel=1e-4, abs=1e-6)
    assert int(hits(logits, labels)) == sum(
        int(row.argmax()) == int(label) for row, label in zip(logits, labels, strict=True)
    )


def test_the_background_is_never_the_top_class():
    probs = torch.tensor([[0.9, 0.02, 0.08], [0.1, 0.6, 0.3]])
    assert top_class(probs).tolist() == [2, 1]


def test_nothing_scored_is_nothing():
    weights = torch.randn(4, 3, requires_grad=True)
    logits = torch.zeros(0, 4) @ weights
    total = cross_entropy(logits, torch.zeros(0, dtype=torch.long)).sum() + feature_distance(logits, logits).sum()
    total.backward()
    assert float(total.detach()) == 0
    assert not weights.grad.any()


def test_noise_contrast():
    torch.manual_seed(0)
    predicted, features = torch.randn(2, 3), torch.randn(6, 3)
    logits = noise_contrastive(predicted, features, torch.tensor([4, 0]), torch.tensor([[1, 5], [3, 3]]))
    expected = [[predicted[i] @ features[j] for j in row] for i, row in enumerate([[4, 1, 5], [0, 3, 3]])]
    assert_close(logits, torch.tensor(expected))


def test_half_precision_is_scored_in_full():
    logits = torch.randn(3, 50, dtype=torch.bfloat16)
    assert cross_entropy(logits, torch.zeros(3, dtype=torch.long)).dtype == torch.float32
