"""The block of the token transformers: pre-LN as in GPT-2 and DALL-E, or CogView's sandwich LayerNorm.

"CogView: Mastering Text-to-Image Generation via Transformers", arXiv:2105.13290, section 2.4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vl.models.causal_attention import Attention

#: How a linear layer is applied.
Linear = Callable[[nn.Linear, Tensor], Tensor]


class MaxScaledNorm(nn.LayerNorm):
    """LayerNorm of x / (max|x| / 8): the same but for eps, and safe from overflow in half precision.

    The release takes the largest number of the whole tensor; here it is that of each token, so that no token depends
    on what it is batched with.
    """

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return super().forward(x / (x.detach().abs().amax(-1, keepdim=True) / 8).clamp(min=1e-8))


class CausalBlock(nn.Module):
    """Attention and MLP, each with a LayerNorm before it, and with `sandwich` one after it as well.

    Args:
        width, heads: of the block.
        norm: the class of its norms.
        sandwich: also normalise what a branch adds.
        dropout: on what a branch adds.
    """

    def __init__(
        self, width: int, heads: int, norm: type[nn.LayerNorm], sandwich: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = norm(width), norm(width)
        outer: list[nn.Module] = [norm(width) if sandwich else nn.Identity() for _ in range(2)]
        self.norm_3, self.norm_4 = outer
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        attention: Attention,
        mask: Bool[Tensor, "#b 1 l l"],
        pivots: Int[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b l d"]:
        return self.finish(x, attention(*self.project(x), mask, pivots))

    def project(self, x: Float[Tensor, "b l d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (b heads l e)."""
        q, k, v = self.qkv(self.norm_1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(
        self, x: Float[Tensor, "*b d"], attended: Float[Tensor, "*b d"], linear: Linear = nn.Linear.__call__
    ) -> Float[Tensor, "*b d"]:
        """The block's output, from its input and what its attention read."""
        x = x + self.dropout(self.norm_3(linear(self.out, attended)))
        hidden = F.gelu(linear(self.fc, self.norm_2(x)), approximate="tanh")
        return x + self.dropout(self.norm_4(linear(self.proj, hidden)))

    def reset_parameters(self, layers: int) -> None:
        """GPT-2's start weights: what adds to the residual stream begins smaller the deeper the network."""
        for layer in (self.qkv, self.out, self.fc, self.proj):
            std = 0.02 / (2 * layers) ** 0.5 if layer in (self.out, self.proj) else 0.02
            torch.nn.init.normal_(layer.weight, std=std)
            torch.nn.init.zeros_(layer.bias)
