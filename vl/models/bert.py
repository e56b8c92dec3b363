"""The layers of BERT (arXiv:1810.04805, section 3) on packed rows.

A layer's attention may look at another stream instead of its own: this makes the co-attention of ViLBERT and the
cross-attention of LXMERT.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from vl.models.attention import attend, cast_once
from vl.models.packing import Packing

#: Of every LayerNorm in the family.
EPS = 1e-12


def init_weights(module: nn.Module, width: int) -> None:
    """BERT's start: normal weights, zero biases; the row of a padding index is zero.

    Their deviation is BERT's 0.02 from its own 768 features upwards. Below it grows with 1 / sqrt(width), so that what
    a layer adds is as strong as in BERT: a model of 128 features that starts with 0.02 learns several times slower.
    """
    std = 0.02 * max(1, 768 / width) ** 0.5
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            nn.init.zeros_(part.weight[part.padding_idx])


class BertAttention(nn.Module):
    """Multi-head attention with its residual: LN(x + dense(attention)).

    Args:
        width: of the stream that asks, which is also that of the result.
        heads: must divide `inner_width`.
        context_width: of the stream that is looked at; None for the same.
        inner_width: of queries, keys and values; None for `width`.
        dropout: on the result and on the attention.

    Raises:
        ValueError: `heads` does not divide the inner width.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        context_width: int | None = None,
        inner_width: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        inner = inner_width or width
        if inner % heads:
            raise ValueError(f"heads is {heads}, which does not divide the width {inner}")
        self.heads = heads
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(context_width or width, inner)
        self.value = nn.Linear(context_width or width, inner)
        self.dense = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "n d"],
        packing: Packing,
        context: Float[Tensor, "m c"] | None = None,
        context_packing: Packing | None = None,
        mask: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> Float[Tensor, "n d"]:
        """`x` after it has looked at `context` (None: at itself) where it is real, or where `mask` is True."""
        asking = cast_once(x)
        looked_at = asking if context is None else cast_once(context)
        qkv = self.query(asking), self.key(looked_at), self.value(looked_at)
        if context is None and mask is None and x.device.type == "cpu" and packing.groups:
            groups = [
                self._attend(part, part, None, *(y.index_select(0, tokens) for y in qkv))
                for tokens, part in packing.groups
            ]
            seen = torch.cat(groups).index_select(0, packing.ungroup)
        else:
            seen = self._attend(packing, packing if context_packing is None else context_packing, mask, *qkv)
        return self.norm(x + self.dropout(self.dense(seen)))

    def _attend(
        self, packing: Packing, seen: Packing, mask: Tensor | None, q: Tensor, k: Tensor, v: Tensor
    ) -> Float[Tensor, "n d"]:
        mask = seen.keys(packing) if mask is None else mask
        q, k, v = self._split(q, packing), self._split(k, seen), self._split(v, seen)
        return packing.pack(attend(q, k, v, mask, dropout=self.dropout.p if self.training else 0.0))

    def _split(self, x: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "b heads l dh"]:
        return packing.pad(x).unflatten(2, (self.heads, -1)).transpose(1, 2)


class BertLayer(nn.Module):
    """Attention, then a feed-forward network with its residual: LN(x + MLP(x)).

    Args:
        width, heads, context_width, inner_width, dropout: as in `BertAttention`.
        mlp_width: of the hidden layer; None for four times the width.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int | None = None,
        context_width: int | None = None,
        inner_width: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.attention = BertAttention(width, heads, context_width, inner_width, dropout)
        self.intermediate = nn.Linear(width, mlp_width or 4 * width)
        self.output = nn.Linear(mlp_width or 4 * width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "n d"],
        packing: Packing,
        context: Float[Tensor, "m c"] | None = None,
        context_packing: Packing | None = None,
        mask: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> Float[Tensor, "n d"]:
        """As `BertAttention`, with the feed-forward network after it."""
        x = self.attention(x, packing, context, context_packing, mask)
        return self.norm(x + self.dropout(self.output(F.gelu(self.intermediate(x)))))


class BertEncoder(nn.Module):
    """A stack of layers on one stream.

    Args:
        depth: number of layers.
        width, heads, mlp_width, dropout: of each.
    """

    def __init__(
        self, depth: int = 12, width: int = 768, heads: int = 12, mlp_width: int | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.width, self.heads, self.mlp_width = width, heads, mlp_width or 4 * width
        self.layers = nn.ModuleList(BertLayer(width, heads, mlp_width, dropout=dropout) for _ in range(depth))
        init_weights(self, width)

    def forward(
        self, x: Float[Tensor, "n d"], packing: Packing, mask: Bool[Tensor, "b 1 l l"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Packed rows through all layers."""
        for layer in self.layers:
            x = layer(x, packing, mask=mask)
        return x

    def first(self, x: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "b d"]:
        """The first token of every row after all layers, of which the last computes no other token."""
        *layers, last = self.layers
        for layer in layers:
            x = layer(x, packing)
        return last(packing.first(x), Packing(packing.batch, 1), x, packing)
