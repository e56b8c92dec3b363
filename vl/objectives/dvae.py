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
from vl.ranks import gather_objects, gather_rows, world_size


class DVAE(TokenizerObjective):
    """The negative evidence bound: logit-Laplace likelihood of the pixels and the divergence of the codes.

    Both are summed and divided by the number of colour values, so at DALL-E's size a weight of 6.6 on the divergence
    is one of 6.6 / 192 on its mean over cells.

    Args:
        kl_weight: of the divergence from the uniform prior, over the steps.
        temperature: of the Gumbel-softmax relaxation, over the steps.
        min_log_scale: floor of ln b, none as published. Where pixels are alike in all pictures (one grey background)
            the likelihood has no bound, b goes to 0 there, and its gradients leave nothing for the rest.
        start_gap: after the first steps every code becomes a cell of their pictures (chosen as k-means++ does, among
            cells that depend on how they lie on ranks), and a cell's logits its nearness to them; the largest is then
            this far above the mean, over cells. None leaves the codes as they begin: a few are the likeliest
            everywhere, the others are not learnt, and a short training ends with a few codes.
        start_steps: how many steps that are. Their cells are not saved: with more than one, a run that is resumed among
            them begins from the cells of the rest.
    """

    needs = frozenset({"reconstruction", "temperature"})

    def __init__(
        self,
        kl_weight: Cosine | None = None,
        temperature: Cosine | None = None,
        min_log_scale: float | None = None,
        start_gap: float | None = None,
        start_steps: int = 1,
    ) -> None:
        super().__init__()
        self.min_log_scale, self.start_gap, self.start_steps = min_log_scale, start_gap, start_steps
        #: Logits of cells of the first steps.
        self._seen: list[Tensor] = []
        self.kl_weight = kl_weight or Cosine(0.0, 6.6, 5000)
        self.temperature = temperature or Cosine(1.0, 1 / 16, 150_000)

    def forward(self, output: Reconstruction, batch: Batch, target: Any = None) -> Loss:
        mu, log_b = output.pixels.chunk(2, dim=1)
        if self.min_log_scale is not None:
            log_b = log_b.clamp(min=self.min_log_scale)
        if self.start_gap is not None and self.training and self.step_number < self.start_steps:
            assert output.logits is not None
            seen = output.logits.detach().float().movedim(1, 3).flatten(0, 2)
            share = len(seen) * world_size() * self.start_steps // (16 * self.num_codes)
            self._seen.append(seen[:: max(1, share)])
        pixels = to_unit(batch.visual.pixels)
        nll = logit_laplace_nll(squeeze_pixels(pixels), mu, log_b).sum()
        count, cells = (torch.tensor(n, device=pixels.device) for n in (pixels.numel(), output.codes.numel()))
        metrics = {"nll": (nll, count), "kl": (output.commitment, cells)}
        total = nll + self.kl_weight(self.step_number) * output.commitment
        return Loss(total, count, metrics | self.code_metrics(output))

    def setup(self, model: VLModel) -> None:
        super().setup(model)
        model.get_buffer("temperature").fill_(self.temperature(0))

    @torch.no_grad()
    def after_step(self, model: VLModel) -> None:
        super().after_step(model)
        if self._seen and self.step_number == self.start_steps:
            model.map_logits(*self._nearness(gather_rows(torch.cat(self._seen))))  # type: ignore[operator]
            self._seen.clear()
        model.get_buffer("temperature").fill_(self.temperature(self.step_number))

    def _nearness(self, cells: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "k k"], Float[Tensor, " k"]]:
        """A matrix and an offset: what maps a cell's logits to its nearness to some of the cells.

        Raises:
            ValueError: there are fewer cells than codes.
        """
        from sklearn.cluster import kmeans_plusplus

        if len(cells) < self.num_codes:
            raise ValueError(f"start_gap: {self.num_codes} codes begin as {len(cells)} cells; a larger batch has more")
        # In double precision, and one trial a code: eight times as fast as in single precision with its trials.
        chosen = kmeans_plusplus(cells.double().cpu().numpy(), self.num_codes, random_state=0, n_local_trials=1)[1]
        # Of rank 0, lest a last bit tells ranks apart.
        codes = cells[gather_objects(chosen.tolist())[0]]
        # Up to what all codes have in common, half the squared distance.
        offset = -codes.square().sum(1) / 2
        near = torch.addmm(offset, cells, codes.T)
        factor = self.start_gap / (near.amax(1) - near.mean(1)).mean().clamp(min=1e-12)
        return factor * codes, factor * offset
