"""Image-text contrast pair by pair: SigLIP's objective.

"Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343, algorithm 1.
"""

from __future__ import annotations

from typing import Any

import torch

from vl.batch import Batch, Encoded, Loss
from vl.losses.contrastive import sigmoid_loss
from vl.objectives.base import Objective
from vl.ranks import gather_rows, rank


class SigmoidITC(Objective):
    """Every image against every text of all ranks as a yes or no; text i belongs to image i.

    Each rank scores its own images against the texts of all ranks, so its gradients are those of one process.
    As in the paper the loss is divided by the number of pairs, not of logits.

    Args:
        chunk: rows of the logits computed at a time, to bound memory; None for all of them.
    """

    needs = frozenset({"text_emb", "image_emb", "logit_scale", "logit_bias"})
    whole_batch = True

    def __init__(self, chunk: int | None = None) -> None:
        super().__init__()
        self.chunk = chunk

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        """The loss summed over this rank's images (all images in evaluation)."""
        texts, offset = output.text_emb.float(), 0
        if self.training:
            texts, offset = gather_rows(texts), rank() * len(texts)
        options = (output.logit_scale, output.logit_bias, offset, self.chunk)
        total, hits = sigmoid_loss(output.image_emb, texts, *options)
        count = torch.tensor(len(output.image_emb), device=texts.device)
        return Loss(total, count, {"image_to_text/accuracy": (hits, count)})
