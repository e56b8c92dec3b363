"""Training of the judge of generated pictures: which object has its centre in each cell."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from vl.batch import Batch, Encoded, Loss
from vl.models.base import VLModel
from vl.objectives.base import Objective


class ObjectCells(Objective):
    """Cross-entropy of the name in every cell, and of the attribute in cells that hold an object."""

    needs = frozenset({"visual", "object_grid"})

    def setup(self, model: VLModel) -> None:
        self.names = len(model.names)  # type: ignore[arg-type]

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        names, attributes = batch.targets["objects"].flatten(0, 2).unbind(1)
        scores = output.visual.float().flatten(0, 1)
        there = names >= 0
        name_loss = F.cross_entropy(scores[:, : self.names + 1], names.where(there, self.names), reduction="sum")
        found = scores[there]
        attribute_loss = F.cross_entropy(found[:, self.names + 1 :], attributes[there], reduction="sum")
        hits = found[:, : self.names].argmax(1) == names[there]
        metrics = {"names/accuracy": (hits.sum(), there.sum())}
        return Loss(name_loss + attribute_loss, torch.tensor(len(batch.keys), device=scores.device), metrics)
