"""NLVR2 with both pictures in one sequence: UNITER's triplet form (arXiv:1909.11740, table 5) and VisualBERT's."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from vl.batch import Batch, Visual
from vl.draw import Draw
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead
from vl.tasks.nlvr2 import NLVR2


class NLVR2Triplet(NLVR2):
    """The statement is read once, with the regions of both pictures; their `Visual.segment` is 0 (left) or 1."""

    def setup(self, model: VLModel) -> None:
        self.head = ClassHead(model.pooled_width, 2)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Any]:
        """Two pictures become one.

        Raises:
            ValueError: they are pixels, which cannot stand side by side.
        """
        if batch.visual.pixels is not None:
            raise ValueError("the triplet form joins regions, but the pictures are pixels; use NLVR2, the pair form")
        return replace(batch, visual=join_pairs(batch.visual), pairs=None, group=None), None


def join_pairs(visual: Visual) -> Visual:
    """The regions of pictures 2i and 2i + 1 in one row, the right one's after the padding of the left one's."""
    sides = torch.arange(2, device=visual.mask.device).repeat(len(visual.mask) // 2)
    visual = replace(visual, segment=sides[:, None].expand(visual.mask.shape))
    values = {field.name: getattr(visual, field.name) for field in fields(visual)}
    kept = {name: value for name, value in values.items() if value is not None and name != "size"}
    return Visual(**{name: joined(value) for name, value in kept.items()})


def joined(x: Tensor) -> Tensor:
    return x.reshape(len(x) // 2, 2 * x.shape[1], *x.shape[2:])
