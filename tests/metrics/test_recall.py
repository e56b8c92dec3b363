"""Recall against a slow loop, ties, groups, and the bootstrap."""

import pytest
import torch
from torch.nn.functional import normalize

from vl.metrics.recall import TIE, bootstrap, cosine_scores, ranks, retrieve


def slow_ranks(scores, queries, gallery):
    """Sort by score, wrong candidates first among equals; the rank is the place of the first right one."""
    found = []
    for row, group in zip(scores.tolist(), queries.tolist(), strict=True):
        right = [g == group for g in gallery.tolist()]
        order = sorted(range(len(row)), key=lambda j, row=row, right=right: (-row[j], right[j]))
        found.append(1 + next(place for place, j in enumerate(order) if right[j]))
    return found


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_equals_a_slow_loop_with_ties_and_groups(chunk):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 6, (40, 30), generator=generator).float()
    gallery = torch.arange(30) // 3
    queries = torch.randint(0, 10, (40,), generator=generator)
    found = ranks(lambda first, last: scores[first:last], queries, gallery, chunk)
    assert found.tolist() == slow_ranks(scores, queries, gallery)


def test_a_model_that_says_the_same_of_everything_finds_nothing():
    same = normalize(torch.ones(1001, 384), dim=1)
    result = retrieve(same, same, torch.arange(1001), torch.arange(1001))
    assert result.text_to_image.tolist() == [1001] * 1001
    assert result.metrics()["text_to_image/R@10"] == 0


def test_the_same_vector_elsewhere_in_a_product_is_a_tie():
    """Rounding differs with the place in a matrix product; what differs by less than `TIE` is the same."""
    vector = normalize(torch.randn(1, 64, generator=torch.Generator().manual_seed(1)), dim=1)
    gallery = vector.repeat(37, 1) + torch.linspace(-1, 1, 37)[:, None] * TIE / 100
    found = ranks(cosine_scores(vector.repeat(37, 1), gallery), torch.arange(37), torch.arange(37))
    assert found.tolist() == [37] * 37


def test_hand_computed_metrics():
    """Two images with two captions each; caption 1 of image 0 looks like image 1."""
    image = torch.eye(2)
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.6, 0.8]])
    groups = torch.tensor([0, 0, 1, 1])
    result = retrieve(text, image, groups, torch.arange(2))
    assert result.text_to_image.tolist() == [1, 2, 1, 1]
    assert result.image_to_text.tolist() == [1, 2]  # text 1 ties with text 2 before image 1
    metrics = result.metrics(ks=(1, 2))
    assert metrics["text_to_image/R@1"] == 75
    assert metrics["image_to_text/R@1"] == 50
    assert metrics["image_to_text/R@2"] == 100
    assert metrics["text_to_image/median_rank"] == 1
    assert metrics["image_to_text/median_rank"] == 1.5


def test_a_permuted_identity_is_perfect_and_its_shift_is_not():
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    image = torch.eye(50)
    assert retrieve(image[order], image, order, torch.arange(50)).metrics()["mean_recall"] == 100
    assert retrieve(image[order], image, (order + 1) % 50, torch.arange(50)).metrics()["mean_recall"] == 0


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match=r"1 of 2 queries have no right candidate.*query 1"):
        ranks(lambda a, b: torch.zeros(b - a, 1), torch.tensor([0, 5]), torch.tensor([0]))
    with pytest.raises(ValueError, match="NaN"):
        ranks(lambda a, b: torch.full((b - a, 1), torch.nan), torch.tensor([0]), torch.tensor([0]))


def noisy(noise, seed, groups=200):
    generator = torch.Generator().manual_seed(seed)
    image = normalize(torch.randn(groups, 16, generator=generator), dim=1)
    text = normalize(image + noise * torch.randn(groups, 16, generator=generator), dim=1)
    return retrieve(text, image, torch.arange(groups), torch.arange(groups))


def test_bootstrap_of_one_model_covers_its_figure_and_its_standard_error():
    result = noisy(0.7, 0)
    interval = bootstrap(result.score((1,)), 200, samples=4000)
    rate = result.score((1,))(torch.ones(1, 200, dtype=torch.int64)).item()
    both = (result.text_to_image <= 1).double() / 2 + (result.image_to_text <= 1).double() / 2
    error = 100 * both.std().item() / 200**0.5
    assert interval.value == pytest.approx(rate)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_a_paired_ratio_is_narrower_than_an_unpaired_one():
    """Two models that fail on the same queries: pairing must see it."""
    good = noisy(0.6, 0)
    same = bootstrap(good.score(), 200, good.score())
    assert (same.value, same.low, same.high) == (1, 1, 1)
    worse = bootstrap(noisy(0.3, 0).score(), 200, noisy(0.9, 1).score())
    assert worse.low > 1
    assert worse == bootstrap(noisy(0.3, 0).score(), 200, noisy(0.9, 1).score())


def test_several_captions_are_drawn_with_their_image():
    """A group's weight reaches all of its captions."""
    image = torch.eye(3)
    text = image[torch.tensor([0, 0, 1, 0])]
    score = retrieve(text, image, torch.tensor([0, 0, 1, 2]), torch.arange(3)).score((1,))
    assert score(torch.tensor([[1, 0, 0]])).item() == pytest.approx((100 + 0) / 2)  # text 3 ties before image 0's
    assert score(torch.tensor([[0, 1, 1]])).item() == pytest.approx((50 + 50) / 2)
