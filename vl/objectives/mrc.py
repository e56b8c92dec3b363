"""Masked region classification: what the detector saw in a hidden region.

UNITER, arXiv:1909.11740, section 3.2, equations 4 (hard) and 5 (KL); ViLBERT, arXiv:1908.02265, section 3.2 (KL).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from vl.batch import Batch, Encoded, Loss
from vl.corrupt import RegionMasking
from vl.draw import Draw
from vl.losses.masked import cross_entropy, kl_divergence, top_class
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead
from vl.objectives.base import Objective
from vl.objectives.rows import matching, visual_rows


class MRC(Objective):
    """Cross-entropy of the detector's best class (never the background), or the KL divergence of its distribution.

    Accuracy compares best classes, the background left out on both sides: it is often the likeliest for either target.

    Args:
        masking: which regions are chosen, and what becomes of them.
        classes: of the detector, the background (which comes first) included.
        target: the best class, or the whole distribution.
        average: over regions; or over regions and classes, as UNITER's released KL is, which makes it `classes` times
            smaller.
        matched_only: score pairs that belong together only.
    """

    needs = frozenset({"visual"})

    def __init__(
        self,
        masking: RegionMasking,
        classes: int = 1601,
        target: Literal["hard", "kl"] = "kl",
        average: Literal["regions", "elements"] = "regions",
        matched_only: bool = False,
    ) -> None:
        super().__init__()
        self.masking, self.classes, self.target = masking, classes, target
        self.average, self.matched_only = average, matched_only

    def setup(self, model: VLModel) -> None:
        self.head = ClassHead(model.visual_width, self.classes)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Bool[Tensor, "bv lv"]]:
        """The batch with regions hidden, and which were chosen."""
        visual, chosen = self.masking(batch.visual, draw)
        return replace(batch, visual=visual), chosen

    def forward(self, output: Encoded, batch: Batch, target: Bool[Tensor, "bv lv"]) -> Loss:
        """The loss of the chosen regions.

        Raises:
            ValueError: the data hold no class distributions, or of another number of classes.
        """
        found = batch.visual.class_probs
        if found is None or found.shape[2] != self.classes:
            have = "none" if found is None else f"those of {found.shape[2]} classes"
            raise ValueError(f"MRC of {self.classes} classes needs as many `class_probs`; the data hold {have}")
        scored = matching(visual_rows(target, batch), batch, self.matched_only)
        probs, logits = visual_rows(found, batch)[scored], self.head(output.visual[scored])
        labels, count = top_class(probs), torch.tensor(len(probs), device=probs.device)
        right = (top_class(logits) == labels).sum().float()
        loss = kl_divergence(logits, probs) if self.target == "kl" else cross_entropy(logits, labels)
        size = self.classes if self.average == "elements" else 1
        return Loss(loss.sum(), count * size, {"accuracy": (right, count)})
