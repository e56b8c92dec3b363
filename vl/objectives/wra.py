"""Word-region alignment by optimal transport: UNITER, arXiv:1909.11740, section 3.2, "Word-Region Alignment"."""

from __future__ import annotations

from typing import Any

import torch

from vl.batch import Batch, Encoded, Loss
from vl.corrupt import real_regions
from vl.losses.transport import transport_distance
from vl.objectives.base import Objective
from vl.objectives.rows import text_rows, visual_rows


class WRA(Objective):
    """Moving a text's words onto the regions shall cost little where they belong together, and much where not.

    The paper minimises the distance; released, that of pairs that do not match is subtracted, and the sum of both is
    divided by all pairs. Weighted by 0.1 there.

    Args:
        beta, iterations, inner: of the transport, see `vl.losses.transport.ipot`.
        subtract_mismatched: as released; else pairs that do not match are left out.
    """

    needs = frozenset({"text", "visual"})

    def __init__(
        self, beta: float = 0.5, iterations: int = 50, inner: int = 1, subtract_mismatched: bool = True
    ) -> None:
        super().__init__()
        self.options, self.subtract_mismatched = (beta, iterations, inner), subtract_mismatched

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        words, regions = text_rows(batch.text.mask, batch), visual_rows(real_regions(batch.visual), batch)
        distance = transport_distance(output.text, output.visual, words, regions, *self.options)
        matched = torch.ones_like(distance) if batch.matched is None else batch.matched.float()
        signs = 2 * matched - 1 if self.subtract_mismatched else matched
        return Loss((signs * distance).sum(), signs.abs().sum())
