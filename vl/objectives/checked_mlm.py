"""Masked language modelling that also asks of seen words whether they are the right ones."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Loss
from vl.corrupt import TokenMasking
from vl.losses.masked import cross_entropy, hits
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.objectives.mlm import IGNORED, MLM
from vl.objectives.rows import matching, text_rows


class CheckedMLM(MLM):
    """MLM, and of each chosen token that is seen, whether another one took its place.

    The second loss is ELECTRA's replaced token detection (arXiv:2003.10555), on chosen tokens alone and with the random
    words of `masking` in place of its generator's; best with alternatives (`TokenMasking.content`). A masked word
    teaches what should stand there; this, to compare it with what does, which matching needs. Its head is linear, so
    that the model itself has to compare. `accuracy` is that of hidden tokens, `replaced` that of seen ones.

    Args:
        masking, matched_only: as of `MLM`.
    """

    def __init__(self, masking: TokenMasking, matched_only: bool = False) -> None:
        super().__init__(masking, matched_only)

    def setup(self, model: VLModel) -> None:
        super().setup(model)
        width = self.head.decoder.embedding_dim
        self.check = nn.Linear(width, 2)
        init_weights(self.check, width)

    def forward(self, output: Encoded, batch: Batch, target: Int[Tensor, "bt lt"]) -> Loss:
        labels, shown = text_rows(target, batch), text_rows(batch.text.ids, batch)
        scored = matching(labels != IGNORED, batch, self.matched_only)
        labels, shown, text = labels[scored], shown[scored], output.text[scored]
        hidden = shown == self.masking.mask_id
        guesses, checks, replaced = self.head(text), self.check(text[~hidden]), (shown != labels)[~hidden].long()
        total = cross_entropy(guesses, labels).sum() + cross_entropy(checks, replaced).sum()
        metrics = {
            "accuracy": (hits(guesses[hidden], labels[hidden]), hidden.sum()),
            "check/accuracy": (hits(checks, replaced), (~hidden).sum()),
        }
        return Loss(total, torch.tensor(len(labels), device=labels.device), metrics)
