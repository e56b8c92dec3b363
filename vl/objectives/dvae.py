"""The objective of DALL-E's image tokenizer.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, section 2.1 and appendix A.2.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch, Loss, Reconstruction
from vl.losses.reconstruction import logit_laplace_nll, squeeze_pixels
from vl.models.base import VLModel
from vl.models.image_tokenizer import to_unit
from vl.objectives.reconstruction import TokenizerObjective
from vl.objectives.schedules import Cosine
from vl.ranks import sum_over_ranks


class DVAE(TokenizerObjective):
    """The negative evidence bound: logit-Laplace likelihood of the pixels and the divergence of the codes.

    Both are summed and divided by the number of colour values, so at DALL-E's size a weight of 6.6 on the divergence
    is one of 6.6 / 192 on its mean over cells.

    Args:
        kl_weight: of the divergence from the uniform prior, over the steps.
        temperature: of the Gumbel-softmax relaxation, over the steps.
        min_log_scale: floor of ln b, none as published. Where pixels are alike in all pictures (one grey background)
            the likelihood has no bound, b goes to 0 there, and its gradients leave nothing for the rest.
        start_spread: standard deviation over cells of every code's logit after the first step, with mean 0; None
            leaves them as they are. As they begin, a few codes are the likeliest everywhere, and the others are not
            learnt: a short training ends with a few codes.
    """

    needs = frozenset({"reconstruction", "temperature"})

    def __init__(
        self,
        kl_weight: Cosine | None = None,
        temperature: Cosine | None = None,
        min_log_scale: float | None = None,
        start_spread: float | None = None,
    ) -> None:
        super().__init__()
        self.min_log_scale, self.start_spread = min_log_scale, start_spread
        #: Of the codes' logits in the first step: cells, sums, sums of squares.
        self._seen: Tensor | None = None
        self.kl_weight = kl_weight or Cosine(0.0, 6.6, 5000)
        self.temperature = temperature or Cosine(1.0, 1 / 16, 150_000)

    def forward(self, output: Reconstruction, batch: Batch, target: Any = None) -> Loss:
        mu, log_b = output.pixels.chunk(2, dim=1)
        if self.min_log_scale is not None:
            log_b = log_b.clamp(min=self.min_log_scale)
        if self.start_spread is not None and self.training and self.step_number == 0:
            self._observe(output.logits)
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
    def _observe(self, logits: Float[Tensor, "b k s s"]) -> None:
        rows = logits.double().movedim(1, 3).flatten(0, 2)
        found = torch.stack([torch.full_like(rows[0], len(rows)), rows.sum(0), rows.square().sum(0)])
        self._seen = found if self._seen is None else self._seen + found

    @torch.no_grad()
    def after_step(self, model: VLModel) -> None:
        super().after_step(model)
        if self._seen is not None:
            cells, total, squares = sum_over_ranks(self._seen)
            mean, self._seen = total / cells, None
            deviation = (squares / cells - mean.square()).clamp(min=1e-12).sqrt()
            model.rescale_logits(mean.float(), (self.start_spread / deviation).float())  # type: ignore[operator]
        model.get_buffer("temperature").fill_(self.temperature(self.step_number))
