"""Scaled dot-product attention, computed the way that is fastest where it runs."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

#: Attention in bf16 is two matrix products on the CPU up to so many keys, from so many scores on: there they are up to
#: twice as fast as the fused kernel in fp32.
SHORT, MANY = 512, 100_000


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
        if k.shape[2] <= SHORT and q[..., 0].numel() * k.shape[2] >= MANY:
            mask = torch.ones(1, 1, q.shape[2], k.shape[2], dtype=torch.bool).tril() if causal else mask
            return _attend_by_products(q, k, v, mask, dropout)
        with torch.autocast("cpu", enabled=False):  # the CPU's fused bf16 attention is slower than that of fp32
            return attend(q.float(), k.float(), v.float(), mask, causal, dropout).to(q.dtype)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout)
    return out.transpose(1, 2).flatten(2)


def _attend_by_products(
    q: Float[Tensor, "b heads lq dh"],
    k: Float[Tensor, "b heads l dh"],
    v: Float[Tensor, "b heads l dv"],
    mask: Bool[Tensor, "#b #heads #lq l"] | None,
    dropout: float,
) -> Float[Tensor, "b lq d"]:
    """The same from two matrix products: the CPU has instructions for those in bf16."""
    b, heads, lq, dh = q.shape
    hidden = torch.zeros((), dtype=q.dtype)
    if mask is not None:
        hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, torch.finfo(q.dtype).min)
    hidden = hidden.expand(b, heads, lq, k.shape[2]).reshape(b * heads, lq, -1)
    scores = torch.baddbmm(hidden, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=dh**-0.5)
    out = (F.dropout(scores.softmax(-1), dropout) @ v.flatten(0, 1)).unflatten(0, (b, heads))
    if mask is not None:
        out = out * mask.any(-1, keepdim=True)
    return out.transpose(1, 2).flatten(2)


def cast_once(x: Tensor) -> Tensor:
    """`x` in the type that autocast computes in: what several linear maps read, each of them would cast for itself."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
