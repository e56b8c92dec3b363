"""Referring expressions: which region does a text mean? RefCOCO, RefCOCO+ and RefCOCOg, arXiv:1608.00272."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Batch, Encoded, Loss
from vl.metrics.by_type import MeanByType
from vl.metrics.grounding import THRESHOLD, iou_xywh
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.tasks.base import Task


class RefCOCO(Task):
    """One score a region, cross-entropy over the regions, as in UNITER; the region that overlaps most is the right one.

    The regions may be the boxes of people or those of a detector: the data decide, and reports must say which.
    (`ExpressionView` in a `RegionView`.)
    """

    needs = frozenset({"visual"})

    def __init__(self) -> None:
        super().__init__()
        self.metric = MeanByType("accuracy")

    def setup(self, model: VLModel) -> None:
        self.head = nn.Linear(model.visual_width, 1)
        init_weights(self.head, model.visual_width)

    def scores(self, output: Encoded, batch: Batch) -> Float[Tensor, "b lv"]:
        """Of every region, minus infinity in the padding."""
        return self.head(output.visual).float().squeeze(2).masked_fill(~batch.visual.mask, -torch.inf)

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        scores, overlap = self.scores(output, batch), overlaps(batch)
        hits = overlap.gather(1, scores.argmax(1, keepdim=True)) > THRESHOLD
        count = torch.tensor(len(scores), device=scores.device)
        return Loss(self.loss(scores, overlap, batch), count, {"accuracy": (hits.sum().float(), count)})

    def loss(self, scores: Float[Tensor, "b lv"], overlap: Float[Tensor, "b lv"], batch: Batch) -> Float[Tensor, ""]:
        """The sum over examples."""
        return F.cross_entropy(scores, overlap.argmax(1), reduction="sum")

    def answer(self, output: Encoded, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The chosen box (x, y, width, height in pixels), and whether it is right."""
        best = self.scores(output, batch).argmax(1, keepdim=True)
        hits = (overlaps(batch).gather(1, best) > THRESHOLD).squeeze(1).float().tolist()
        boxes = in_pixels(batch.visual.boxes, batch)[torch.arange(len(best), device=best.device), best[:, 0]].tolist()
        rows = zip(batch.targets["id"], boxes, hits, batch.targets["type"], strict=True)
        return [{"sent_id": name, "box": box, "accuracy": hit, "type": kind} for name, box, hit, kind in rows]


class OverlapRefCOCO(RefCOCO):
    """Binary cross-entropy of every region against its overlap, 0 below one half, as in ViLBERT."""

    def loss(self, scores: Float[Tensor, "b lv"], overlap: Float[Tensor, "b lv"], batch: Batch) -> Float[Tensor, ""]:
        target = overlap.where(overlap >= THRESHOLD, 0.0).clamp(max=1)
        mask = batch.visual.mask
        return F.binary_cross_entropy_with_logits(scores[mask], target[mask], reduction="sum")


def overlaps(batch: Batch) -> Float[Tensor, "b lv"]:
    """Of each region with the box that is meant, in UNITER's convention; -1 in the padding."""
    right = in_pixels(batch.targets["box"][:, None], batch)
    return iou_xywh(in_pixels(batch.visual.boxes, batch), right).masked_fill(~batch.visual.mask, -1.0)


def in_pixels(boxes: Float[Tensor, "b n 4"], batch: Batch) -> Float[Tensor, "b n 4"]:
    """xyxy in 0..1 as x, y, width, height in pixels."""
    corners = boxes * batch.targets["size"].repeat(1, 2)[:, None].to(boxes.dtype)
    return torch.cat([corners[..., :2], corners[..., 2:] - corners[..., :2]], dim=-1)
