"""Image-text matching: do the text and the picture belong together?

UNITER, arXiv:1909.11740, section 3.2, equation 2; ViLBERT's alignment; LXMERT's cross-modality matching.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Loss
from vl.losses.masked import cross_entropy, hits
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.objectives.base import Objective


class ITM(Objective):
    """The mean cross-entropy of two classes, of which 1 is "they match" (0 in ViLBERT's and Oscar's own checkpoints).

    The data's source makes the pairs that do not match (`vl.data.negatives.Negatives`).
    """

    needs = frozenset({"pooled"})

    def setup(self, model: VLModel) -> None:
        self.head = nn.Linear(model.pooled_width, 2)
        init_weights(self.head, model.pooled_width)

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        """The loss of all rows.

        Raises:
            ValueError: the batch does not say which pairs match.
        """
        if batch.matched is None:
            raise ValueError("matching needs pairs that do not match: give the source `negatives`")
        logits, labels = self.head(output.pooled), batch.matched.long()
        count = torch.tensor(len(labels), device=labels.device)
        return Loss(cross_entropy(logits, labels).sum(), count, {"accuracy": (hits(logits, labels), count)})

    def scores(self, output: Encoded) -> Float[Tensor, " r"]:
        """The log-odds of each row's text and picture belonging together."""
        mismatch, match = self.head(output.pooled).float().unbind(1)
        return match - mismatch
