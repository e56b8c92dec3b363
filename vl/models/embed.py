"""Embedders: words and regions to the vectors a trunk begins with."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vl.batch import Text, Visual
from vl.models.bert import EPS, init_weights
from vl.models.packing import Packing


class TextEmbedder(nn.Module):
    """BERT's: LN(word + position + segment).

    Args:
        vocab_size: number of token ids.
        width: of the vectors.
        context_length: tokens a text may have.
        segments: number of segment ids.
        padding_idx: row 0 of all three tables learns nothing if this is 0 (LXMERT); None: every row learns.
        dropout: on the result.
    """

    def __init__(
        self,
        vocab_size: int = 30522,
        width: int = 768,
        context_length: int = 512,
        segments: int = 2,
        padding_idx: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.vocab_size, self.width, self.context_length = vocab_size, width, context_length
        self.word = nn.Embedding(vocab_size, width, padding_idx)
        self.position = nn.Embedding(context_length, width, padding_idx)
        self.segment = nn.Embedding(segments, width, padding_idx)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)
        init_weights(self, width)

    def forward(self, text: Text) -> tuple[Float[Tensor, "n d"], Packing]:
        """The real tokens of the texts, packed."""
        packing = Packing.of(text.mask)
        ids = packing.pack(text.ids)
        positions = packing.pack(torch.arange(packing.length, device=ids.device).expand(text.ids.shape))
        segments = torch.zeros_like(ids) if text.segment is None else packing.pack(text.segment)
        return self.finish(self.word(ids) + self.position(positions) + self.segment(segments)), packing

    def finish(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """LayerNorm and dropout, which VisualBERT shares with its regions."""
        return self.dropout(self.norm(x))


class VisualEmbedder(nn.Module):
    """Regions, or cells of a grid, to vectors.

    `projection` maps their features, `width` is that of the vectors. `num_extra` vectors stand before those of the
    regions. A region that an objective has hidden loses its feature.
    """

    projection: nn.Linear
    width: int
    num_extra: int = 0
    #: Of the pictures, where it reads pixels.
    image_size: int | None = None

    def forward(self, visual: Visual, text: TextEmbedder) -> tuple[Float[Tensor, "n d"], Packing]:
        """The real regions of the pictures, packed. `text` lends the tables that words and regions share."""
        raise NotImplementedError


def region_mask(visual: Visual, boxes: bool = True) -> Bool[Tensor, "bv lv"]:
    """Where real regions stand.

    Raises:
        ValueError: the batch has no region features, or no boxes where they are needed.
    """
    if visual.features is None or (boxes and visual.boxes is None):
        raise ValueError(
            f"the model reads region features{' and boxes' if boxes else ''}, which the data do not hold; "
            "add them to the shards, or wrap the visual embedder in TimmGrid to read pixels"
        )
    if visual.mask is not None:
        return visual.mask
    return torch.ones(visual.features.shape[:2], dtype=torch.bool, device=visual.features.device)


def region_segments(visual: Visual, packing: Packing, default: int) -> Int[Tensor, " n"]:
    """The segment ids of the packed regions, `default` where the batch names none."""
    if visual.segment is not None:
        return packing.pack(visual.segment)
    return packing.pack(torch.full(visual.features.shape[:2], default, device=visual.features.device))


def hide(features: Float[Tensor, "*s f"], hidden: Bool[Tensor, "*s"] | None) -> Float[Tensor, "*s f"]:
    """The features, zero where hidden."""
    return features if hidden is None else features.masked_fill(hidden[..., None], 0)
