"""Ranks from scores of pairs against a slow loop, and what two towers let through."""

import pytest
import torch

from vl.evaluation.pair_retrieval import candidates, lost, pair_retrieval


def test_ranks_are_those_of_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    scores, owners = torch.randn(7, 20, generator=generator), torch.randint(7, (20,), generator=generator)
    owners[:7] = torch.arange(7)
    scores[:, 3] = scores[:, 4]  # ties
    found = pair_retrieval(scores, owners, "every pair").metrics
    text = [
        1 + sum(bool(s >= row[o] - 1e-6) for j, s in enumerate(row) if j != o)
        for row, o in zip(scores.T, owners, strict=True)
    ]
    image = []
    for number, row in enumerate(scores):
        best = max(row[owners == number])
        image.append(1 + sum(bool(s >= best - 1e-6) for s, owner in zip(row, owners, strict=True) if owner != number))
    for way, ranks in (("text_to_image", text), ("image_to_text", image)):
        for k in (1, 5, 10):
            assert found[f"{way}/R@{k}"] == pytest.approx(100 * sum(rank <= k for rank in ranks) / len(ranks))


def test_what_two_towers_drop_comes_last():
    text, image = torch.eye(4), torch.eye(4)[[1, 0, 2, 3]] + 0.01 * torch.arange(4)[:, None]
    kept = candidates(text, image, 1)
    assert kept.diagonal().tolist() == [False, False, True, True]
    assert kept.any(0).all()
    assert kept.any(1).all()
    assert candidates(text, image, 99).all()
    every = pair_retrieval(torch.eye(4), torch.arange(4), "every pair")
    some = pair_retrieval(torch.eye(4).masked_fill(~kept, -torch.inf), torch.arange(4), "candidates")
    assert every.metrics["text_to_image/R@1"] == 100
    assert some.metrics["text_to_image/R@1"] == some.metrics["image_to_text/R@1"] == 50
    assert lost(every, some)["lost/text_to_image/R@1"] == 50


def test_folds_are_searched_among_themselves():
    scores = torch.full((4, 4), 2.0).fill_diagonal_(1.0)
    scores[:2, :2] = scores[2:, 2:] = torch.eye(2)
    found = pair_retrieval(scores, torch.arange(4), "every pair", fold=2).metrics
    assert found["text_to_image/R@1"] == 0
    assert found["folds of 2/text_to_image/R@1"] == 100
    with pytest.raises(ValueError, match="no multiple"):
        pair_retrieval(scores, torch.arange(4), "every pair", fold=3)
