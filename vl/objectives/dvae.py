"""The objective of DALL-E's image tokenizer.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, section 2.1 and appendix A.2.
"""

from __future__ import annotations

from typing import Any

import torch

from vl.batch import Batch, Loss, Reconstruction
from vl.losses.reconstruction import logit_laplace_nll, squeeze_pixels
from vl.models.base import VLModel
from vl.models.image_tokenizer import to_unit
from vl.objectives.reconstruction import TokenizerObjective
from vl.objectives.schedules import Cosine


class DVAE(TokenizerObjective):
    """The negative evidence bound: logit-Laplace likelihood of the pixels and the divergence of the codes.

    Both are summed and divided by the number of colour values, so at DALL-E's size a weight of 6.6 on the divergence
    is one of 6.6 / 192 on its mean over cells.

    Args:
        kl_weight: of the divergence from the uniform prior, over the steps.
        temperature: of the Gumbel-softmax relaxation, over the steps.
    """

    needs = frozenset({"reconstruction", "temperature"})

    def __init__(self, kl_weight: Cosine | None = None, temperature: Cosine | None = None) -> None:
        super().__init__()
        self.kl_weight = kl_weight or Cosine(0.0, 6.6, 5000)
        self.temperature = temperature or Cosine(1.0, 1 / 16, 150_000)

    def forward(self, output: Reconstruction, batch: Batch, target: Any = None) -> Loss:
        mu, log_b = output.pixels.chunk(2, dim=1)
        pixels = to_unit(batch.visual.pixels)
        nll = logit_laplace_nll(squeeze_pixels(pixels), mu, log_b).sum()
        count, cells = torch.tensor(pixels.numel(), device=pixels.device), torch.tensor(output.codes.numel())
        metrics = {"nll": (nll, count), "kl": (output.commitment, cells.to(pixels.device))}
        total = nll + self.kl_weight(self.step_number) * output.commitment
        return Loss(total, count, metrics | self.code_metrics(output))

    def setup(self, model: VLModel) -> None:
        super().setup(model)
        model.get_buffer("temperature").fill_(self.temperature(0))

    @torch.no_grad()
    def after_step(self, model: VLModel) -> None:
        super().after_step(model)
        model.get_buffer("temperature").fill_(self.temperature(self.step_number))
