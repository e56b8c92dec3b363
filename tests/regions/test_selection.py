"""Which boxes are kept: against a slow loop, and the two traps (background first, sorted by confidence)."""

import pytest
import torch
from torchvision.ops import nms

from vl.regions.extractor import background_first
from vl.regions.selection import Selection


def detections(count, classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * 100
    probs = (torch.randn(count, classes, generator=generator) * 2).softmax(dim=1)
    return corners.flatten(1), probs


def loop(boxes, probs, least, most, threshold):
    """As bottom-up attention's extractor does it, class by class."""
    confidence = torch.zeros(len(boxes))
    for column in range(1, probs.shape[1]):
        for row in nms(boxes, probs[:, column], 0.3):
            confidence[row] = max(confidence[row], probs[row, column])
    order = confidence.argsort(descending=True, stable=True)
    kept = [row for row in order.tolist() if confidence[row] >= threshold]
    kept = order.tolist()[:least] if len(kept) < least else kept[:most]
    return kept, confidence[kept]


@pytest.mark.parametrize(("least", "most", "threshold"), [(10, 100, 0.2), (10, 12, 0.2), (10, 100, 0.99), (1, 5, 0.5)])
def test_agrees_with_a_loop_over_classes(least, most, threshold):
    boxes, probs = detections(40)
    kept, confidence = Selection(least, most, threshold, floor=0.0)(boxes, probs)
    rows, expected = loop(boxes, probs, least, most, threshold)
    assert kept.tolist() == rows
    torch.testing.assert_close(confidence, expected)


def test_the_most_confident_comes_first_and_background_counts_for_nothing():
    boxes = torch.tensor([[0.0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]])
    probs = torch.tensor([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.4, 0.1, 0.5]])
    kept, confidence = Selection(least=3)(boxes, probs)
    assert kept.tolist() == [1, 2, 0]
    torch.testing.assert_close(confidence, torch.tensor([0.8, 0.5, 0.05]))


def test_a_better_box_of_the_same_class_displaces_one():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 10]])
    probs = torch.tensor([[0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.3, 0.0, 0.7]])
    kept, confidence = Selection(least=1)(boxes, probs)
    assert kept.tolist() == [0, 2]
    torch.testing.assert_close(confidence, torch.tensor([0.9, 0.7]))


def test_nothing_found_keeps_nothing():
    kept, confidence = Selection()(torch.zeros(0, 4), torch.zeros(0, 5))
    assert len(kept) == len(confidence) == 0


def test_background_first():
    torch.testing.assert_close(background_first(torch.tensor([[0.1, 0.2, 0.7]])), torch.tensor([[0.7, 0.1, 0.2]]))
