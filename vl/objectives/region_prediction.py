"""What LXMERT predicts of regions: object, attribute and feature (arXiv:1908.07490, section 3.1.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch, Encoded, Loss
from vl.corrupt import RegionMasking, real_regions
from vl.draw import Draw
from vl.losses.masked import cross_entropy, feature_distance, hits, top_class
from vl.models.base import VLModel
from vl.models.heads_masked import SharedHead
from vl.objectives.base import Objective
from vl.objectives.mrfr import Hidden
from vl.objectives.rows import matching, visual_rows


class RegionPrediction(Objective):
    """Cross-entropy of the detector's object and attribute, smooth absolute distance of the feature, summed.

    The paper speaks of masked regions. As released, object and attribute are asked of EVERY region, weighted by the
    detector's confidence in them, and each loss is the mean over all regions divided by the share that is masked.

    Args:
        masking: which regions are chosen, and what becomes of them; released: 80% zero, 10% random.
        objects, attributes: classes without the background; 0 for data that hold no attributes.
        scored: all regions, as released; or the masked ones.
        matched_only: score pairs that belong together only.
    """

    needs = frozenset({"visual", "visual_projection"})

    def __init__(
        self,
        masking: RegionMasking,
        objects: int = 1600,
        attributes: int = 400,
        scored: Literal["all", "masked"] = "all",
        matched_only: bool = False,
    ) -> None:
        super().__init__()
        self.masking, self.scored, self.matched_only = masking, scored, matched_only
        self.classes = {"obj": objects} | ({"attr": attributes} if attributes else {})

    def setup(self, model: VLModel) -> None:
        features = {"feat": model.visual_projection.in_features}
        self.head = SharedHead(model.visual_width, self.classes | features)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Hidden]:
        """The batch with regions hidden, and what they were."""
        visual, chosen = self.masking(batch.visual, draw)
        return replace(batch, visual=visual), Hidden(chosen, batch.visual.features)

    def forward(self, output: Encoded, batch: Batch, target: Hidden) -> Loss:
        """The summed loss; metrics are of the masked regions alone."""
        visual, masked = batch.visual, visual_rows(target.chosen, batch)
        asked = masked if self.scored == "masked" else visual_rows(real_regions(visual), batch)
        asked = matching(asked, batch, self.matched_only)
        x, masked = self.head.transform(output.visual[asked]), masked[asked]
        features = visual_rows(target.features, batch)[asked][masked]
        count = torch.tensor(len(x), device=x.device)
        parts = {"feat": feature_distance(self.head.decoders["feat"](x[masked]), features, "smooth_l1").sum()}
        metrics = {"feat/loss": (parts["feat"].detach(), masked.sum())}
        for name in self.classes:
            probs = visual_rows(self._probs(name, batch), batch)[asked]
            logits, labels = self.head.decoders[name](x), top_class(probs) - 1
            weight = probs[:, 1:].amax(1) if self.scored == "all" else torch.ones_like(probs[:, 0])
            parts[name] = (cross_entropy(logits, labels) * weight).sum()
            metrics[f"{name}/accuracy"] = hits(logits[masked], labels[masked]), masked.sum()
        scale = 1 / self.masking.prob if self.scored == "all" else 1.0
        return Loss(scale * torch.stack(list(parts.values())).sum(), count, metrics)

    def _probs(self, name: str, batch: Batch) -> Float[Tensor, "bv lv c"]:
        visual = batch.visual
        probs, field = {
            "obj": (visual.class_probs, "class_probs"),
            "attr": (visual.attribute_probs, "attribute_probs"),
        }[name]
        if probs is None or probs.shape[2] != self.classes[name] + 1:
            have = "none" if probs is None else f"those of {probs.shape[2] - 1}"
            raise ValueError(
                f"predicting {self.classes[name]} classes ({name}) needs as many `{field}` and the background; the "
                f"data hold {have}"
            )
        return probs
