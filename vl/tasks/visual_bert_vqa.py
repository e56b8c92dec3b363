"""VisualBERT's way to answer questions: arXiv:1908.03557, section 4.1, and the released code."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Batch, Encoded
from vl.metrics.by_type import MeanByType
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.tasks.vqa import VQA


class VisualBertVQA(VQA):
    """KL divergence to the soft labels as a distribution; a linear head on the question's last word.

    The last word stands before the final separator: text length - 2, which is the mask token where the question ends
    in one, as in the release.

    Args:
        file: JSON list of the answers.
        answers: classes of the head.
        dropout: before the head.
    """

    needs = frozenset({"text"})

    def __init__(self, file: str, answers: int = 3129, dropout: float = 0.1) -> None:
        super().__init__(file, answers)
        self.dropout = nn.Dropout(dropout)

    def setup(self, model: VLModel) -> None:
        self.head = nn.Linear(model.width, self.answers)
        init_weights(self.head, model.width)
        self.metric = MeanByType("accuracy")

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b c"]:
        last = batch.text.mask.sum(1) - 2
        return self.head(self.dropout(output.text[torch.arange(len(last), device=last.device), last]))

    def loss(self, logits: Float[Tensor, "b c"], target: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
        shares = target / target.sum(1, keepdim=True).clamp(min=1e-12)
        return F.kl_div(logits.log_softmax(1), shares, reduction="sum")
