"""Scaled dot-product attention, computed the way that is fastest where it runs."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def attend(
    q: Float[Tensor, "b heads lq dh"],
    k: Float[Tensor, "b heads l dh"],
    v: Float[Tensor, "b heads l dv"],
    mask: Bool[Tensor, "#b #heads #lq l"] | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Float[Tensor, "b lq d"]:
    """Attention with its heads joined. `mask` is True where a query may look; one that may look nowhere gets zeros."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # The CPU's bf16 attention is never faster than fp32, and its backward about twice as slow below 128 tokens.
        with torch.autocast("cpu", enabled=False):
            return attend(q.float(), k.float(), v.float(), mask, causal, dropout).to(q.dtype)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout)
    return out.transpose(1, 2).flatten(2)


def cast_once(x: Tensor) -> Tensor:
    """`x` in the type that autocast computes in: what several linear maps read, each of them would cast for itself."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
