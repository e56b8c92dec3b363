"""Retrieval from scores: folds against a slow loop with ties."""

from statistics import fmean

import pytest
import torch

from vl.metrics.folds import mean_of_folds, retrieve_scores


def slow_recall(scores, owners, k):
    """Any-hit recall of pictures that look for texts, wrong texts first among equals."""
    hits = []
    for image, row in enumerate(scores.tolist()):
        order = sorted(range(len(row)), key=lambda j, row=row, image=image: (-row[j], owners[j] == image))
        hits.append(any(owners[j] == image for j in order[:k]))
    return 100 * sum(hits) / len(hits)


@pytest.fixture
def scored():
    """12 pictures with 3 texts each, and so few different scores that most tie."""
    generator = torch.Generator().manual_seed(0)
    owners = torch.arange(12).repeat_interleave(3)[torch.randperm(36, generator=generator)]
    scores = torch.randint(0, 5, (12, 36), generator=generator).float()
    return scores + (owners == torch.arange(12)[:, None]), owners


def test_a_matrix_of_scores(scored):
    scores, owners = scored
    metrics = retrieve_scores(scores, owners).metrics((1, 3))
    assert metrics["image_to_text/R@3"] == pytest.approx(slow_recall(scores, owners.tolist(), 3))
    assert 0 < metrics["text_to_image/R@3"] < 100


def test_folds_search_among_their_own(scored):
    scores, owners = scored
    found = mean_of_folds(scores, owners, size=4, ks=(1, 3))
    folds = []
    for first in (0, 4, 8):
        own = [j for j, owner in enumerate(owners.tolist()) if first <= owner < first + 4]
        part = scores[first : first + 4][:, own]
        folds.append(slow_recall(part, [owners[j].item() - first for j in own], 1))
    assert found["image_to_text/R@1"] == pytest.approx(fmean(folds))
    with pytest.raises(ValueError, match="12 pictures are no multiple of the fold's 5"):
        mean_of_folds(scores, owners, size=5)
