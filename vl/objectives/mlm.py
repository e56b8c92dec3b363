"""Masked language modelling: hidden words from the words around them and the picture.

"BERT", arXiv:1810.04805, section 3.1; with pictures in UNITER, arXiv:1909.11740, section 3.2, equation 1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from vl.batch import Batch, Encoded, Loss
from vl.corrupt import TokenMasking
from vl.draw import Draw
from vl.losses.masked import cross_entropy, hits
from vl.models.base import VLModel
from vl.models.heads_masked import TokenHead
from vl.objectives.base import Objective
from vl.objectives.rows import matching, text_rows

#: The label of what is not scored.
IGNORED = -100


class MLM(Objective):
    """The mean cross-entropy of the chosen tokens. The decoder is tied to the word embeddings.

    UNITER forces a word to be chosen in every text (`at_least_one: first`), the other systems do not; 12-in-1 leaves
    out pairs that do not match.

    Args:
        masking: which tokens are chosen, and what becomes of them.
        matched_only: score pairs that belong together only.
    """

    needs = frozenset({"text", "word_embedding"})

    def __init__(self, masking: TokenMasking, matched_only: bool = False) -> None:
        super().__init__()
        self.masking, self.matched_only = masking, matched_only

    def setup(self, model: VLModel) -> None:
        self.head = TokenHead(model.word_embedding)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Int[Tensor, "bt lt"]]:
        """The batch with tokens hidden, and the ids of the chosen ones, `IGNORED` elsewhere."""
        text, chosen = self.masking(batch.text, draw, self.head.decoder.num_embeddings)
        return replace(batch, text=text), torch.where(chosen, batch.text.ids, IGNORED)

    def forward(self, output: Encoded, batch: Batch, target: Int[Tensor, "bt lt"]) -> Loss:
        labels = text_rows(target, batch)
        scored = matching(labels != IGNORED, batch, self.matched_only)
        labels, logits = labels[scored], self.head(output.text[scored])
        count = torch.tensor(len(labels), device=labels.device)
        return Loss(cross_entropy(logits, labels).sum(), count, {"accuracy": (hits(logits, labels), count)})
