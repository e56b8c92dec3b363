"""Masked region feature regression: the feature of a hidden region.

UNITER, arXiv:1909.11740, section 3.2, equation 3; LXMERT, arXiv:1908.07490, section 3.1.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vl.batch import Batch, Encoded, Loss
from vl.corrupt import RegionMasking
from vl.draw import Draw
from vl.losses.masked import Distance, feature_distance
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead, FeatureHead
from vl.objectives.base import Objective
from vl.objectives.rows import matching, visual_rows


@dataclass(frozen=True)
class Hidden:
    """Which regions were chosen, and what their features were."""

    chosen: Bool[Tensor, "bv lv"]
    features: Float[Tensor, "bv lv f"]


class MRFR(Objective):
    """The mean distance of predicted and true features, over regions and numbers.

    Args:
        masking: which regions are chosen, and what becomes of them.
        distance: squared (UNITER, ViLBERT), or smooth absolute (LXMERT).
        tied: the head ends in the transpose of the map that read the features (UNITER), or in one of its own.
        matched_only: score pairs that belong together only.
    """

    needs = frozenset({"visual", "visual_projection"})

    def __init__(
        self, masking: RegionMasking, distance: Distance = "l2", tied: bool = True, matched_only: bool = False
    ) -> None:
        super().__init__()
        self.masking, self.distance, self.tied, self.matched_only = masking, distance, tied, matched_only

    def setup(self, model: VLModel) -> None:
        projection = model.visual_projection
        own = ClassHead(model.visual_width, projection.in_features)
        self.head = FeatureHead(projection) if self.tied else own

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Hidden]:
        """The batch with regions hidden, and what they were."""
        visual, chosen = self.masking(batch.visual, draw)
        return replace(batch, visual=visual), Hidden(chosen, batch.visual.features)

    def forward(self, output: Encoded, batch: Batch, target: Hidden) -> Loss:
        scored = matching(visual_rows(target.chosen, batch), batch, self.matched_only)
        features, predicted = visual_rows(target.features, batch)[scored], self.head(output.visual[scored])
        count = torch.tensor(len(features), device=features.device)
        return Loss(feature_distance(predicted, features, self.distance).sum(), count)
