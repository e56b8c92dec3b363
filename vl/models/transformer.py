"""The pre-LN transformer of CLIP (arXiv:2103.00020) on packed rows, with the weights and names of open_clip's.

Beside padding it leaves out what nobody reads: where one token a row is pooled, the last block computes keys and
values for all tokens, but queries, projection and MLP for the pooled ones only. The result is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from vl.models.attention import attend
from vl.models.packing import Packing


class Block(nn.Module):
    """One residual block. It adopts the parts of an open_clip block, so parameter names are open_clip's."""

    def __init__(self, block: ResidualAttentionBlock, causal: bool = False) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ls_1 = block.ln_1, block.attn, block.ls_1
        self.ln_2, self.mlp, self.ls_2 = block.ln_2, block.mlp, block.ls_2
        self.causal = causal

    def forward(
        self, x: Float[Tensor, "n d"], packing: Packing, pooled: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "m d"]:
        """All rows, or those of the `pooled` tokens: one a text, each the last real one if attention is causal."""
        normed = self.ln_1(x)
        if pooled is None:
            attention = self._attend_all(normed, packing)
        else:
            x, attention = x[pooled], self._attend_one(normed, packing, pooled)
        x = x + self.ls_1(self.attn.out_proj(attention))
        return x + self.ls_2(self.mlp(self.ln_2(x)))

    def _attend_all(self, x: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        qkv = packing.pad(F.linear(x, self.attn.in_proj_weight, self.attn.in_proj_bias))
        q, k, v = qkv.unflatten(2, (3, self.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # Padding stands at the end, where a causal mask hides it from every real token.
        mask = None if packing.mask is None or self.causal else packing.mask[:, None, None]
        return packing.pack(attend(q, k, v, mask, self.causal))

    def _attend_one(self, x: Float[Tensor, "n d"], packing: Packing, pooled: Int[Tensor, " b"]) -> Float[Tensor, "b d"]:
        width, heads = x.shape[1], self.attn.num_heads
        weights, biases = (p.split((width, 2 * width)) for p in (self.attn.in_proj_weight, self.attn.in_proj_bias))
        q = F.linear(x[pooled], weights[0], biases[0]).view(packing.batch, 1, heads, -1).transpose(1, 2)
        k, v = packing.pad(F.linear(x, weights[1], biases[1])).unflatten(2, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if packing.mask is None else packing.mask[:, None, None]
        return attend(q, k, v, mask).squeeze(1)


class Transformer(nn.Module):
    """A stack of blocks in place of open_clip's `Transformer`, whose blocks it adopts.

    Raises:
        ValueError: the stack has open_clip's custom blocks (query-key norm, scaled heads and the like).
    """

    def __init__(self, stack: Any, causal: bool = False, pool_first: bool = False) -> None:
        super().__init__()
        if not self.can_adopt(stack):
            raise ValueError(f"cannot pack {type(stack.resblocks[0]).__name__}, only ResidualAttentionBlock")
        self.width, self.layers, self.pool_first = stack.width, stack.layers, pool_first
        self.resblocks = nn.ModuleList(Block(block, causal) for block in stack.resblocks)

    @staticmethod
    def can_adopt(stack: Any) -> bool:
        return all(type(block) is ResidualAttentionBlock for block in stack.resblocks)

    def get_cast_dtype(self) -> torch.dtype:
        """open_clip's towers ask for it."""
        first: Any = self.resblocks[0]
        return first.mlp.c_fc.weight.dtype

    def run(
        self, x: Float[Tensor, "n d"], packing: Packing, pooled: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "m d"]:
        """Packed rows through all blocks; the rows of the `pooled` tokens alone come out, if given."""
        for block in self.resblocks[:-1]:
            x = block(x, packing)
        return self.resblocks[-1](x, packing, pooled)

    def forward(self, x: Float[Tensor, "b l d"], attn_mask: None = None) -> Float[Tensor, "b lq d"]:
        """As open_clip's towers call it; with `pool_first` only the first token of each row comes out."""
        assert attn_mask is None
        packing = Packing(*x.shape[:2])
        first = torch.arange(0, x.shape[0] * x.shape[1], x.shape[1], device=x.device) if self.pool_first else None
        return self.run(packing.pack(x), packing, first).view(x.shape[0], -1, x.shape[2])
