"""The cross-modality encoder of LXMERT (arXiv:1908.07490, section 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from jaxtyping import Float
from torch import Tensor, nn

from vl.models.bert import BertAttention, BertEncoder, BertLayer, init_weights
from vl.models.packing import Packing
from vl.models.two_streams import TwoStreams


class CrossLayer(nn.Module):
    """Each stream looks at the other as it was before, by ONE shared module; then each has its own layer."""

    def __init__(self, text: BertEncoder, visual: BertEncoder, dropout: float) -> None:
        super().__init__()
        self.cross = BertAttention(text.width, text.heads, dropout=dropout)
        self.text = BertLayer(text.width, text.heads, text.mlp_width, dropout=dropout)
        self.visual = BertLayer(visual.width, visual.heads, visual.mlp_width, dropout=dropout)

    def forward(
        self, text: Float[Tensor, "n d"], text_packing: Packing, visual: Float[Tensor, "m d"], visual_packing: Packing
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
        seen = self.cross(text, text_packing, visual, visual_packing)
        visual = self.cross(visual, visual_packing, text, text_packing)
        return self.text(seen, text_packing), self.visual(visual, visual_packing)


class CrossModality(TwoStreams):
    """The streams run alone to their ends (the language and the object-relationship encoder), then `depth` layers meet.

    Args:
        text, visual: the streams, of one width.
        depth: number of cross-modality layers.
        dropout: of those.

    Raises:
        ValueError: the widths differ.
    """

    def __init__(self, text: BertEncoder, visual: BertEncoder, depth: int = 5, dropout: float = 0.1) -> None:
        super().__init__(text, visual)
        if text.width != visual.width:
            raise ValueError(f"the streams share their cross-attention; widths {text.width} and {visual.width} differ")
        self.text_alone, self.visual_alone = len(text.layers), len(visual.layers)
        self.cross_layers = nn.ModuleList(CrossLayer(text, visual, dropout) for _ in range(depth))
        init_weights(self.cross_layers, text.width)

    def forward(
        self, text: Float[Tensor, "n d"], text_packing: Packing, visual: Float[Tensor, "m d"], visual_packing: Packing
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
        for layer in self.cross_layers:
            text, visual = layer(text, text_packing, visual, visual_packing)
        return text, visual

    def first_word(
        self, text: Float[Tensor, "n d"], text_packing: Packing, visual: Float[Tensor, "m d"], visual_packing: Packing
    ) -> Float[Tensor, "b d"]:
        """As in `TwoStreams`; the last layer leaves out what no first word comes from."""
        *layers, last = self.cross_layers
        for layer in layers:
            text, visual = layer(text, text_packing, visual, visual_packing)
        assert isinstance(last, CrossLayer)
        seen = last.cross(text, text_packing, visual, visual_packing)
        return last.text(text_packing.first(seen), Packing(text_packing.batch, 1), seen, text_packing)

    def steps(self) -> Iterator[tuple[nn.Module, ...]]:
        # Counted from where they meet: the shorter stream begins later.
        alone = list(zip_longest(reversed(self.text.layers), reversed(self.visual.layers)))
        for layers in reversed(alone):
            yield tuple(layer for layer in layers if layer is not None)
        for layer in self.cross_layers:
            yield (layer,)
