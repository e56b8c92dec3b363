"""Image-text contrast over the whole batch of all ranks: CLIP's objective.

"Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, figure 3.
"""

from __future__ import annotations

from math import log
from typing import Any

import torch

from vl.batch import Batch, Encoded, Loss
from vl.losses.contrastive import info_nce
from vl.models.base import VLModel
from vl.objectives.base import Objective
from vl.ranks import gather_rows, rank


class ITC(Objective):
    """Softmax contrast in both directions; text i belongs to image i, and everything else is a negative.

    Where an image has several texts (`Negatives(both=True)`), the first belongs to it; the others are negatives of
    every image, and no image is sought for them (the texts of NegCLIP, arXiv:2210.01936).

    Each rank scores its own rows against the columns of all ranks, which come by one differentiable gather: its
    gradients are those of one process with the whole batch. Two captions of one picture in a batch count as
    negatives of each other, as in CLIP; draw one caption an image (`CaptionView(choose="one")`) to avoid it.

    Args:
        chunk: rows of the logits computed at a time, to bound memory; None for all of them.
        label_smoothing: probability spread evenly over all columns.
        max_scale: the temperature's factor is kept at or below this.
    """

    needs = frozenset({"text_emb", "image_emb", "logit_scale"})
    whole_batch = True

    def __init__(self, chunk: int | None = None, label_smoothing: float = 0.0, max_scale: float = 100.0) -> None:
        super().__init__()
        self.chunk, self.label_smoothing, self.max_scale = chunk, label_smoothing, max_scale

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        """The mean of the two directions' losses, summed over this rank's pairs (all pairs in evaluation)."""
        image = output.image_emb.float()
        text = output.text_emb.float().unflatten(0, (len(image), -1))
        images, texts, offset = image, text, 0
        if self.training:
            gathered = gather_rows(torch.cat([image[:, None], text], dim=1))
            images, texts, offset = gathered[:, 0], gathered[:, 1:], rank() * len(image)
        options = (output.logit_scale, offset, self.label_smoothing, self.chunk)
        to_text, text_hits = info_nce(image, texts.transpose(0, 1).flatten(0, 1), *options)
        to_image, image_hits = info_nce(text[:, 0], images, *options)
        count = torch.tensor(len(image), device=image.device)
        metrics = {"image_to_text/accuracy": (text_hits, count), "text_to_image/accuracy": (image_hits, count)}
        return Loss((to_text + to_image) / 2, count, metrics)

    @torch.no_grad()
    def after_step(self, model: VLModel) -> None:
        model.get_parameter("logit_scale").clamp_(max=log(self.max_scale))
