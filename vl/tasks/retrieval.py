"""Fine-tuning for image-text retrieval: UNITER's triplets, arXiv:1909.11740, section A.2.

A matched pair, the same picture with another's text, and the same text with another's picture. (Oscar's binary loss is
`vl.objectives.itm.ITM` with `Negatives` on its source; CLIP's contrast is `vl.objectives.itc.ITC`.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Loss
from vl.draw import Draw
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.objectives.base import Objective


class TripletRetrieval(Objective):
    """Hinge of the two negatives' scores (a sigmoid of the rank head) against the pair's, with a margin.

    Negatives are other examples of the micro-batch, never the same picture; so this objective, unlike others, depends
    on how a batch is cut. A micro-batch of one picture has no negatives and no loss.

    Args:
        margin: by which the pair shall win.
        hardest: take the highest-scoring of so many random candidates as the negative; 1 takes a random one. The
            candidates are scored in the same pass, so that memory grows with it.
    """

    needs = frozenset({"pooled"})

    def __init__(self, margin: float = 0.2, hardest: int = 1) -> None:
        super().__init__()
        self.margin, self.hardest = margin, hardest

    def setup(self, model: VLModel) -> None:
        self.head = nn.Linear(model.pooled_width, 1)
        init_weights(self.head, model.pooled_width)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Any]:
        """The batch with 1 + 2 n rows an example: the pair, n other texts, n other pictures."""
        others = partners(batch, draw, self.hardest)
        own = torch.arange(len(others), device=others.device)[:, None]
        texts = torch.cat([own, others, own.expand_as(others)], dim=1)
        pictures = torch.cat([own, own.expand_as(others), others], dim=1)
        pairs = torch.stack([texts.flatten(), pictures.flatten()], dim=1)
        return replace(batch, pairs=pairs, group=own.expand_as(texts).flatten()), (others != own).all(1)

    def scores(self, output: Encoded) -> Float[Tensor, " r"]:
        """Of each row, 0 to 1."""
        return self.head(output.pooled).float().squeeze(1).sigmoid()

    def forward(self, output: Encoded, batch: Batch, target: Any) -> Loss:
        """The mean over the two negatives, summed over the examples that have any."""
        scores = self.scores(output).view(len(batch), -1)
        pair, texts, pictures = scores.split([1, self.hardest, self.hardest], dim=1)
        negatives = torch.cat([texts.amax(1, keepdim=True), pictures.amax(1, keepdim=True)], dim=1)
        loss = (self.margin + negatives - pair).clamp(min=0).mean(1)[target].sum()
        count, won = target.sum(), (pair > negatives).float().mean(1)[target].sum()
        return Loss(loss, count, {"accuracy": (won, count)})


def partners(batch: Batch, draw: Draw, count: int) -> Int[Tensor, "b n"]:
    """Random other examples of the batch for each, none with the same key; an example itself where there is none."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(batch.keys))}
    pictures = torch.tensor([keys[key] for key in batch.keys], device=draw.examples.device)
    chance = draw.fold("partners").uniform(len(batch)).masked_fill(pictures[:, None] == pictures, -1.0)
    best = chance.topk(min(count, len(batch)), dim=1)
    own = torch.arange(len(batch), device=best.indices.device)[:, None]
    found = best.indices.where(best.values >= 0, best.indices[:, :1])  # fewer others than asked for: the first again
    found = found.where(best.values[:, :1] >= 0, own)
    return torch.cat([found, found[:, :1].expand(-1, count - found.shape[1])], dim=1)
