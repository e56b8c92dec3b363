"""Overlap of boxes in both conventions, by hand and against pixels that are counted."""

import torch

from vl.metrics.grounding import iou_xywh, iou_xyxy, pointing_hits, to_xyxy


def pixels(box):
    """The pixels of a box of whole numbers (x, y, w, h)."""
    x, y, w, h = box
    return {(i, j) for i in range(x, x + w) for j in range(y, y + h)}


def test_xywh_equals_counted_pixels_where_more_than_one_row_is_common():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.randint(0, 12, (300, 2, 4), generator=generator) + torch.tensor([0, 0, 1, 1])
    for (a, b), found in zip(boxes.tolist(), iou_xywh(*boxes.float().unbind(1)).tolist(), strict=True):
        common = pixels(a) & pixels(b)
        thin = min(len({x for x, _ in common}), len({y for _, y in common})) <= 1
        expected = 0 if thin else len(common) / len(pixels(a) | pixels(b))
        assert abs(found - expected) < 1e-6


def test_xyxy_by_hand():
    a = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 4, 4], [5, 5, 5, 5]])
    b = torch.tensor([[0.0, 0, 9, 9], [20, 20, 30, 30], [4, 4, 8, 8], [5, 5, 5, 5]])
    assert torch.allclose(iou_xyxy(a, b), torch.tensor([1, 0, 1 / (25 + 25 - 1), 1]))


def test_the_conventions_disagree_near_one_half():
    """10 x 10 against its upper half: exactly 1/2 in pixels, so wrong; 66/121 with ViLBERT's corners, so right."""
    predicted, right = torch.tensor([[0.0, 0, 10, 5]]), torch.tensor([[0.0, 0, 10, 10]])
    assert iou_xywh(predicted, right).item() == 0.5
    assert pointing_hits(predicted, right).tolist() == [0]
    corners = to_xyxy(predicted), to_xyxy(right)
    assert abs(iou_xyxy(*corners).item() - 66 / 121) < 1e-6
    assert pointing_hits(*corners, overlap=iou_xyxy).tolist() == [1]
    assert predicted.tolist() == [[0, 0, 10, 5]]
