"""Poolers: one vector for a row, from its first word and its first region."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from vl.models.bert import init_weights


class Pooler(nn.Module):
    """First word and first region (or the whole picture) to a vector of `width`."""

    width: int
    reads_visual: bool = True

    def forward(self, text: Float[Tensor, "r d"], visual: Float[Tensor, "r dv"] | None) -> Float[Tensor, "r p"]:
        raise NotImplementedError


class FirstWordPooler(Pooler):
    """BERT's: tanh of a linear map of the first word."""

    reads_visual = False

    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.width = width
        self.dense = nn.Linear(width, width)
        init_weights(self, width)

    def forward(self, text: Float[Tensor, "r d"], visual: Float[Tensor, "r dv"] | None = None) -> Float[Tensor, "r p"]:
        return self.dense(text).tanh()


class FusedPooler(Pooler):
    """ViLBERT's: linear map and ReLU of each stream, then their product (or sum) and dropout.

    Args:
        text_width, visual_width: of the streams.
        width: of the result.
        fusion: how the two meet.
        dropout: on the result.
    """

    def __init__(
        self,
        text_width: int = 768,
        visual_width: int = 1024,
        width: int = 1024,
        fusion: Literal["product", "sum"] = "product",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.width, self.fusion = width, fusion
        self.text, self.visual = nn.Linear(text_width, width), nn.Linear(visual_width, width)
        self.dropout = nn.Dropout(dropout)
        init_weights(self, width)

    def forward(self, text: Float[Tensor, "r d"], visual: Float[Tensor, "r dv"] | None) -> Float[Tensor, "r p"]:
        text, visual = self.text(text).relu(), self.visual(visual).relu()
        return self.dropout(text * visual if self.fusion == "product" else text + visual)
