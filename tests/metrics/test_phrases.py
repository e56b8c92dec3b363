"""What ranked boxes are worth, by hand; the plain overlap on a grid of pixels."""

import pytest
import torch

from vl.batch import Batch
from vl.metrics.grounding import iou
from vl.metrics.phrases import PhraseMeans, phrase_scores

MISS = [50.0, 50.0, 60.0, 60.0]


def test_overlap_counts_pixels():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 12, (50, 2, 2), generator=generator).sort(dim=1).values.flatten(1) for _ in range(2))

    def pixels(box):
        x1, y1, x2, y2 = box.tolist()
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    for one, other, found in zip(a, b, iou(a.float(), b.float()), strict=True):
        both, either = pixels(one) & pixels(other), pixels(one) | pixels(other)
        assert found.item() == pytest.approx(len(both) / max(len(either), 1))
    shares = torch.tensor([40.0, 20.0, 40.0, 20.0])
    assert torch.allclose(iou(a / shares, b / shares), iou(a.float(), b.float()), atol=1e-6)


def test_ranks_by_hand():
    right = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    half = [20.0, 0.0, 25.0, 10.0]  # overlaps the second by exactly one half
    less = [20.0, 0.0, 24.9, 10.0]
    at = {place: phrase_scores(torch.tensor([MISS] * place + [half]), right) for place in (0, 4, 5, 9, 10)}
    names = ("R@1", "R@5", "R@10", "upper_bound")
    assert [[at[place][name] for name in names] for place in at] == [
        [1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]  # fmt: skip
    assert phrase_scores(torch.tensor([less]), right)["upper_bound"] == 0
    assert phrase_scores(torch.tensor([less, half]), right)["pointing"] == 1  # the centre is enough
    assert phrase_scores(torch.tensor([MISS, half]), right)["pointing"] == 0
    assert not any(phrase_scores(torch.zeros(0, 4), right).values())
    around = torch.tensor([[0.0, 0.0, 30.0, 10.0]])
    assert phrase_scores(torch.tensor([half]), around)["R@1"] == 0


def test_phrases_count_alike_whatever_their_sentence():
    def said(kind, hit):
        return {"type": kind, "R@1": hit, "R@5": 1.0, "R@10": 1.0, "upper_bound": 1.0, "pointing": hit}

    metric = PhraseMeans()
    metric.update([{"phrases": [said("people", 1.0), said("people", 1.0), said("other", 0.0)]}], Batch())
    metric.update([{"phrases": [said("other", 0.0)]}, {"phrases": []}], Batch())
    found = metric.compute()
    assert (found["R@1"], found["R@1/people"], found["R@1/other"], found["R@5"]) == (50, 100, 0, 100)
