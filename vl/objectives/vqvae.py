"""The objective of CogView's image tokenizer.

"CogView: Mastering Text-to-Image Generation via Transformers", arXiv:2105.13290, section 2.2, equation 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from vl.batch import Batch, Loss, Reconstruction
from vl.models.base import VLModel
from vl.models.image_tokenizer import to_unit
from vl.objectives.reconstruction import TokenizerObjective
from vl.objectives.schedules import Cosine


class VQ(TokenizerObjective):
    """Squared error of the pixels in units of their variance, and the codebook's own term.

    Args:
        variance: of a colour value; the error is divided by it.
        temperature: of a Gumbel codebook, over the steps; None leaves it.
    """

    needs = frozenset({"reconstruction", "codebook"})

    def __init__(self, variance: float = 0.1, temperature: Cosine | None = None) -> None:
        super().__init__()
        self.variance, self.temperature = variance, temperature

    def forward(self, output: Reconstruction, batch: Batch, target: Any = None) -> Loss:
        pixels = to_unit(batch.visual.pixels)
        error = F.mse_loss(output.pixels, pixels, reduction="sum")
        count, cells = (torch.tensor(n, device=pixels.device) for n in (pixels.numel(), output.codes.numel()))
        # Each term is a mean of its own, weighed at the scale of the whole picture.
        total = error / self.variance + output.commitment * (count / cells)
        metrics = {"mse": (error.detach(), count), "commitment": (output.commitment.detach(), cells)}
        return Loss(total, count, metrics | self.code_metrics(output))

    @torch.no_grad()
    def after_step(self, model: VLModel) -> None:
        super().after_step(model)
        model.codebook.after_step(self.step_number)  # type: ignore[operator, union-attr]
        if self.temperature:
            model.get_buffer("codebook.temperature").fill_(self.temperature(self.step_number))
