"""Fine-tuning for image-text retrieval: UNITER's triplets, arXiv:1909.11740, section A.2, and its hard negatives.

(Oscar's binary loss is `vl.objectives.itm.ITM` with `Negatives` on its source; CLIP's contrast is
`vl.objectives.itc.ITC`.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Loss
from vl.draw import Draw
from vl.models.base import VLModel, evaluation
from vl.models.bert import init_weights
from vl.objectives.base import Objective


class TripletRetrieval(Objective):
    """Hinge of negatives' scores (a sigmoid of the rank head) against the pair's, with a margin.

    The two negatives of a pair are a random other text and a random other picture of the micro-batch, never of the
    same picture; so this objective, unlike others, depends on how a batch is cut. A micro-batch of one picture has no
    negatives and no loss.

    Args:
        margin: by which the pair shall win.
    """

    needs = frozenset({"pooled"})

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def setup(self, model: VLModel) -> None:
        self.head = nn.Linear(model.pooled_width, 1)
        init_weights(self.head, model.pooled_width)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Any]:
        """The batch with three rows an example: the pair, its picture with another text, its text with another one."""
        others = partners(batch, draw)
        own = torch.arange(len(others), device=others.device)
        texts, pictures = torch.stack([own, others, own], dim=1), torch.stack([own, own, others], dim=1)
        pairs = torch.stack([texts.flatten(), pictures.flatten()], dim=1)
        return replace(batch, pairs=pairs, group=own.repeat_interleave(3)), others != own

    def scores(self, output: Encoded) -> Float[Tensor, " r"]:
        """Of each row, 0 to 1."""
        return self.head(output.pooled).float().squeeze(1).sigmoid()

    def forward(self, output: Encoded, batch: Batch, target: Any) -> Loss:
        return self.hinge(self.scores(output).view(len(batch), -1), target)

    def hinge(self, scores: Float[Tensor, "b n"], real: Bool[Tensor, " b"]) -> Loss:
        """The mean over an example's negatives, summed over the examples that are `real`; pairs are in column 0."""
        pair, negatives = scores[:, :1], scores[:, 1:]
        loss = (self.margin + negatives - pair).clamp(min=0).mean(1)[real].sum()
        count, won = real.sum(), (pair > negatives).float().mean(1)[real].sum()
        return Loss(loss, count, {"accuracy": (won, count)})


class MinedTripletRetrieval(TripletRetrieval):
    """The same hinge against the hardest negatives of a pool, as in UNITER's `train_itm_hard_negatives.py`.

    The model scores each example's whole pool (`vl.data.pool.Pool` on the source) without a gradient and without
    dropout; the candidates that score highest are scored again, and trained on. Who is in a pool is a function of the
    example, so nothing depends on ranks or micro-batches. UNITER takes text pools and picture pools in every step;
    here they are two sources, of which each step takes one.

    Args:
        hardest: how many of a pool are trained on, all of a smaller one.
        margin: by which the pair shall win.
    """

    steps_alone = True

    def __init__(self, hardest: int = 31, margin: float = 0.2) -> None:
        super().__init__(margin)
        self.hardest = hardest

    def step(self, model: VLModel, batch: Batch, draw: Draw) -> Loss:
        """The loss of the pairs against what was mined.

        Raises:
            ValueError: the examples have no pools.
        """
        if batch.pairs is None or batch.matched is None or len(batch.matched) != len(batch.pairs):
            raise ValueError("there is nothing to mine in: give the source a Pool as its `negatives`")
        scores = self.scores(model(take(batch, self.mine(model, batch).flatten()))).view(len(batch), -1)
        return self.hinge(scores, torch.ones_like(scores[:, 0], dtype=torch.bool))

    @torch.no_grad()
    def mine(self, model: VLModel, batch: Batch) -> Int[Tensor, "b n"]:
        """For each example the row of its pair, then those of its hardest candidates."""
        with evaluation(model):
            scores = self.scores(model(batch)).view(len(batch), -1)
        hardest = scores[:, 1:].topk(min(self.hardest, scores.shape[1] - 1), dim=1).indices + 1
        first = torch.arange(len(batch), device=scores.device)[:, None] * scores.shape[1]
        return torch.cat([first, first + hardest], dim=1)


def take(batch: Batch, rows: Int[Tensor, " n"]) -> Batch:
    """Some rows of a batch, with the texts and pictures that stand in them and no others."""
    texts, text = batch.pairs[rows, 0].unique(return_inverse=True)
    pictures, picture = batch.pairs[rows, 1].unique(return_inverse=True)
    return replace(
        batch,
        text=batch.text.rows(texts),
        visual=batch.visual.rows(pictures),
        pairs=torch.stack([text, picture], dim=1),
        group=batch.group[rows],
        matched=batch.matched[rows],
    )


def partners(batch: Batch, draw: Draw) -> Int[Tensor, " b"]:
    """A random other example of the batch for each, of another key; the example itself where there is none."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(batch.keys))}
    pictures = torch.tensor([keys[key] for key in batch.keys], device=draw.examples.device)
    chance = draw.fold("partners").uniform(len(batch)).masked_fill(pictures[:, None] == pictures, -1.0)
    best = chance.max(dim=1)
    return best.indices.where(best.values >= 0, torch.arange(len(batch), device=pictures.device))
