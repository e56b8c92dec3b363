"""The linear probe's scores, and the choice of its strength."""

import pytest
import torch
from torch.nn.functional import normalize

from vl.data.sample import Sample
from vl.evaluation.embed import Images
from vl.evaluation.linear_probe import best_strength, class_scores, linear_probe


def clusters(number, classes, seed, noise=0.3):
    """Embeddings around a direction a class, their class number in `cls`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % classes
    rows = torch.eye(4)[labels] + noise * torch.randn(number, 4, generator=generator)
    samples = tuple(Sample(str(i), {"cls": str(label.item()).encode()}) for i, label in enumerate(labels))
    return Images(normalize(rows, dim=1), samples, {})


@pytest.mark.parametrize("classes", [2, 3])
def test_clusters_are_told_apart(classes):
    names = ["a", "b", "c"][:classes]
    train, val, test = clusters(90, classes, 0), clusters(30, classes, 1), clusters(60, classes, 2)
    found = linear_probe(train, val, test, "en", names)
    assert found.metrics["top1"] > 85
    assert f"120 training pictures, 60 test pictures, {classes} classes" in found.protocol
    assert "90 training pictures" in linear_probe(train, None, test, "en", names).protocol


def test_a_class_that_does_not_occur_is_never_answered():
    x, y = torch.eye(4)[[0, 1, 0, 1]], torch.tensor([0, 2, 0, 2])
    scores = class_scores(x, y, x, 4, 100.0)
    assert scores.argmax(1).tolist() == [0, 2, 0, 2]
    assert scores[:, [1, 3]].isinf().all()


def test_strength_is_chosen_on_val():
    """Labels of train are half noise: fitting them closely hurts on val."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 40, generator=generator)
    y = (x[:, 0] > 0).long()
    flipped = y.where(torch.rand(60, generator=generator) > 0.3, 1 - y)
    x_val = torch.randn(200, 40, generator=generator)
    assert best_strength(x, flipped, x_val, (x_val[:, 0] > 0).long()) < 1e3


def test_one_class_is_no_task():
    with pytest.raises(ValueError, match="two classes, train has 1"):
        linear_probe(clusters(9, 1, 0), None, clusters(3, 1, 1), "en", ["a"])
