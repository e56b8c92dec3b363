"""What the objectives of image tokenizers share: the step they are at, and how evenly codes are used."""

from __future__ import annotations

import torch
from torch import Tensor

from vl.batch import Reconstruction
from vl.losses.reconstruction import code_perplexity
from vl.models.base import VLModel
from vl.objectives.base import Objective


class TokenizerObjective(Objective):
    """Counts the steps and watches the codes.

    `codes/perplexity` and `codes/used` (a share) are logged for the codes of a micro-batch of a rank, averaged.
    """

    needs = frozenset({"reconstruction"})
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1, dtype=torch.long))
        self.num_codes = 0

    @property
    def step_number(self) -> int:
        return int(self.steps)

    def setup(self, model: VLModel) -> None:
        self.num_codes = model.num_codes  # type: ignore[assignment]

    def after_step(self, model: VLModel) -> None:
        self.steps += 1

    def code_metrics(self, output: Reconstruction) -> dict[str, tuple[Tensor, Tensor]]:
        counts = torch.bincount(output.codes.flatten(), minlength=self.num_codes)
        one = counts.new_ones(())
        return {"codes/perplexity": (code_perplexity(counts), one), "codes/used": ((counts > 0).float().mean(), one)}
