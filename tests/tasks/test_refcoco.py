"""Referring expressions: which region overlaps, what is lost, and the box in pixels."""

import pytest
import torch
from pretraining import full, prepared
from torch.nn import functional as F

from vl.tasks.refcoco import OverlapRefCOCO, RefCOCO, in_pixels, overlaps


def asked():
    """Six pictures of 200 x 100; the box meant is region 0's of each, a little smaller in the last."""
    batch = full()
    boxes = batch.visual.boxes
    boxes[:, 0] = torch.tensor([0.1, 0.1, 0.6, 0.9])
    meant = boxes[:, 0].clone()
    meant[5, 2] = 0.5
    batch.targets.update(box=meant, size=torch.tensor([[200, 100]] * 6), id=tuple("abcdef"), type=("",) * 6)
    return batch


def test_overlap_is_taken_in_pixels():
    batch = asked()
    found = overlaps(batch)
    assert found[:5, 0].tolist() == pytest.approx([1] * 5)
    assert found[5, 0].item() == pytest.approx(80 / 100)
    assert (found[~batch.visual.mask] == -1).all()
    assert in_pixels(batch.targets["box"][:, None], batch)[0, 0].tolist() == pytest.approx([20, 10, 100, 80])


def test_the_best_overlapping_region_is_the_class():
    model, task = prepared(RefCOCO(), "vilbert")
    batch = asked()
    output = model(batch)
    scores = task.head(output.visual).squeeze(2)
    rows = zip(scores, (4, 1, 8, 3, 5, 6), strict=True)
    expected = sum(F.cross_entropy(row[:count][None], torch.tensor([0])).item() for row, count in rows)
    assert task(output, batch).total.item() == pytest.approx(expected, rel=1e-4)
    found = task.predict(model, batch)
    assert found[1]["box"] == pytest.approx([20, 10, 100, 80], rel=1e-5)  # it has one region alone
    assert found[1]["accuracy"] == 1
    assert found[1]["sent_id"] == "b"
    assert task.answer(output, batch)[1]["accuracy"] == 1


def test_overlap_as_the_target_of_every_region():
    model, task = prepared(OverlapRefCOCO())
    batch = asked()
    output = model(batch)
    scores, found = task.head(output.visual).squeeze(2), overlaps(batch)
    total = 0.0
    for row, count in enumerate((4, 1, 8, 3, 5, 6)):
        for place in range(count):
            overlap = found[row, place].item()
            target = torch.tensor(min(overlap, 1) if overlap >= 0.5 else 0.0)
            total += F.binary_cross_entropy_with_logits(scores[row, place], target).item()
    assert task(output, batch).total.item() == pytest.approx(total, rel=1e-4)
