"""Noise-contrastive masked regions: which of many features was the hidden one (`visual_target` 2 of ViLBERT's code)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vl.batch import Batch, Encoded, Loss
from vl.corrupt import RegionMasking, real_regions, spread
from vl.draw import Draw
from vl.losses.masked import cross_entropy, hits, noise_contrastive
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead
from vl.objectives.base import Objective
from vl.objectives.mrfr import Hidden
from vl.objectives.rows import matching


class NCE(Objective):
    """Cross-entropy of a hidden region's feature among those of other regions, by dot products.

    Negatives come from the same picture and from the other pictures of the micro-batch, so unlike the other
    objectives its loss depends on companions, and on the number of ranks.

    Args:
        masking: which regions are chosen, and what becomes of them.
        negatives: of each region; released: 255 (of which rounding leaves 254).
        inside: the share of them that comes from the same picture.
        matched_only: score pairs that belong together only.
    """

    needs = frozenset({"visual", "visual_projection"})

    def __init__(
        self, masking: RegionMasking, negatives: int = 255, inside: float = 0.3, matched_only: bool = False
    ) -> None:
        super().__init__()
        self.masking, self.matched_only = masking, matched_only
        self.num_inside, self.num_across = int(negatives * inside), int(negatives * (1 - inside))

    def setup(self, model: VLModel) -> None:
        self.head = ClassHead(model.visual_width, model.visual_projection.in_features)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, tuple[Hidden, Int[Tensor, "bv lv k"]]]:
        """The batch with regions hidden; what they were, and the negatives of each, as places of all regions."""
        visual, chosen = self.masking(batch.visual, draw)
        negatives = self.places(real_regions(visual), spread(draw, len(chosen)).fold("negatives"))
        return replace(batch, visual=visual), (Hidden(chosen, batch.visual.features), negatives)

    def places(self, mask: Bool[Tensor, "b l"], draw: Draw) -> Int[Tensor, "b l k"]:
        """Random places of real regions of the same picture, never the region itself, then of other pictures.

        Where a picture has one region, or a batch one picture, the region itself is all there is.
        """
        counts, (pictures, length) = mask.sum(1), mask.shape
        own = torch.arange(length, device=mask.device)[None, :, None]
        row = torch.arange(pictures, device=mask.device)[:, None, None]
        steps = draw.fold("inside").integers(2**31, length, self.num_inside) % (counts - 1).clamp(min=1)[:, None, None]
        inside = row * length + (own + 1 + steps) % counts.clamp(min=1)[:, None, None]
        # All real regions in a line, from which those of the own picture are cut out.
        line, total = mask.flatten().nonzero().squeeze(1), int(counts.sum())
        starts = (counts.cumsum(0) - counts)[:, None, None]
        others = (total - counts).clamp(min=1)[:, None, None]
        steps = draw.fold("across").integers(2**31, length, self.num_across) % others
        across = line[(starts + counts[:, None, None] + steps) % max(total, 1)]
        return torch.cat([inside, across], dim=2)

    def forward(self, output: Encoded, batch: Batch, target: tuple[Hidden, Int[Tensor, "bv lv k"]]) -> Loss:
        """The loss of the chosen regions.

        Raises:
            ValueError: the batch joins texts and pictures by `pairs`, whose rows repeat pictures.
        """
        if batch.pairs is not None:
            raise ValueError("NCE contrasts the pictures of a batch, which must not have `pairs`")
        hidden, negatives = target
        scored = matching(hidden.chosen, batch, self.matched_only)
        own = scored.flatten().nonzero().squeeze(1)
        predicted = self.head(output.visual[scored])
        logits = noise_contrastive(predicted, hidden.features.flatten(0, 1), own, negatives[scored])
        labels, count = torch.zeros_like(own), torch.tensor(len(own), device=own.device)
        return Loss(cross_entropy(logits, labels).sum(), count, {"accuracy": (hits(logits, labels), count)})
