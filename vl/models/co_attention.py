"""The co-attention of ViLBERT (arXiv:1908.02265, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, zip_longest

from jaxtyping import Float
from torch import Tensor, nn

from vl.models.bert import BertEncoder, BertLayer, init_weights
from vl.models.packing import Packing
from vl.models.two_streams import TwoStreams


class CoLayer(nn.Module):
    """Each stream looks at the other as it was before; then each has its feed-forward network."""

    def __init__(self, text: BertEncoder, visual: BertEncoder, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.text = BertLayer(text.width, heads, text.mlp_width, visual.width, width, dropout)
        self.visual = BertLayer(visual.width, heads, visual.mlp_width, text.width, width, dropout)

    def forward(
        self, text: Float[Tensor, "n d"], text_packing: Packing, visual: Float[Tensor, "m dv"], visual_packing: Packing
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m dv"]]:
        return (
            self.text(text, text_packing, visual, visual_packing),
            self.visual(visual, visual_packing, text, text_packing),
        )


class CoAttention(TwoStreams):
    """Co-attention layer k runs when `text_ends[k]` text layers and `visual_ends[k]` visual layers have run.

    The released checkpoints hold two more maps a co-attention layer (`q_dense1`, `q_dense2`) that nothing uses; they
    are left out here.

    Args:
        text, visual: the streams.
        text_ends, visual_ends: `t_biattention_id` and `v_biattention_id`, both increasing.
        width, heads: of the co-attention.
        dropout: of the co-attention layers.

    Raises:
        ValueError: the ends do not pair up, do not increase, or lie beyond the streams.
    """

    def __init__(
        self,
        text: BertEncoder,
        visual: BertEncoder,
        text_ends: Sequence[int] = (6, 7, 8, 9, 10, 11),
        visual_ends: Sequence[int] = (0, 1, 2, 3, 4, 5),
        width: int = 1024,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(text, visual)
        if len(text_ends) != len(visual_ends) or not text_ends:
            raise ValueError(
                f"text_ends has {len(text_ends)} ends, visual_ends {len(visual_ends)}: give one a co-layer"
            )
        for name, ends, stream in (("text", text_ends, text), ("visual", visual_ends, visual)):
            if list(ends) != sorted(ends) or not 0 <= ends[0] <= ends[-1] <= len(stream.layers):
                raise ValueError(
                    f"{name}_ends is {list(ends)}; it must increase, up to the {len(stream.layers)} layers"
                )
        self.text_ends, self.visual_ends = tuple(text_ends), tuple(visual_ends)
        self.text_alone, self.visual_alone = text_ends[0], visual_ends[0]
        self.co_layers = nn.ModuleList(CoLayer(text, visual, width, heads, dropout) for _ in text_ends)
        init_weights(self.co_layers, width)

    def forward(
        self, text: Float[Tensor, "n d"], text_packing: Packing, visual: Float[Tensor, "m dv"], visual_packing: Packing
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m dv"]]:
        for co_layer, text_layers, visual_layers in self._stages():
            text, visual = co_layer(text, text_packing, visual, visual_packing)
            for layer in text_layers:
                text = layer(text, text_packing)
            for layer in visual_layers:
                visual = layer(visual, visual_packing)
        return text, visual

    def _stages(self) -> Iterator[tuple[nn.Module, Iterable[nn.Module], Iterable[nn.Module]]]:
        """Every co-attention layer, and the layers of each stream between it and the next."""
        text_spans = pairwise((*self.text_ends, len(self.text.layers)))
        visual_spans = pairwise((*self.visual_ends, len(self.visual.layers)))
        for co_layer, (i, j), (k, m) in zip(self.co_layers, text_spans, visual_spans, strict=True):
            yield co_layer, self.text.layers[i:j], self.visual.layers[k:m]

    def steps(self) -> Iterator[tuple[nn.Module, ...]]:
        yield from _side_by_side(self.text.layers[: self.text_alone], self.visual.layers[: self.visual_alone])
        for co_layer, text_layers, visual_layers in self._stages():
            yield (co_layer,)
            yield from _side_by_side(text_layers, visual_layers)


def _side_by_side(*stacks: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, ...]]:
    for layers in zip_longest(*stacks):
        yield tuple(layer for layer in layers if layer is not None)
