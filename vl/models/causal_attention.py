"""Attention of the token transformers: plain, relaxed against overflow, and sparse.

"CogView: Mastering Text-to-Image Generation via Transformers", arXiv:2105.13290, sections 2.4 and 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from vl.models.attention import attend

_Heads = Float[Tensor, "b h l e"]


class Attention:
    """How queries read keys; `mask` is True where one may look."""

    def __call__(
        self, q: _Heads, k: _Heads, v: _Heads, mask: Bool[Tensor, "#b 1 l l"], pivots: Int[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b l d"]:
        return attend(q, k, v, mask)


@dataclass(frozen=True)
class RelaxedAttention(Attention):
    """PB-relax: softmax((QK / (alpha sqrt(d)) - max) alpha), the same number without large ones on the way.

    The paper has it, the release left it out.
    """

    alpha: float = 32.0

    def __call__(
        self, q: _Heads, k: _Heads, v: _Heads, mask: Bool[Tensor, "#b 1 l l"], pivots: Int[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b l d"]:
        scores = (q / (self.alpha * sqrt(q.shape[3]))) @ k.transpose(2, 3)
        # The maximum of what may be seen: that of all keys could leave nothing but -inf.
        scores = scores.masked_fill(~mask, float("-inf"))
        out = ((scores - scores.amax(3, keepdim=True)) * self.alpha).softmax(3) @ v
        return out.transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class SparseAttention(Attention):
    """Local windows and pivots, for training on long rows; evaluation and generation use plain attention.

    Queries come in blocks of `window`; each sees the last `times` blocks, its own among them, and some pivots of what
    lies further back: all of the text and image tokens drawn anew in each step. A pivot stands for as many tokens as
    there are to a pivot, so its score gains log(l / pivots); one softmax is over both.

    Args:
        window: of queries.
        times: windows of keys that a query sees.
        pivots: tokens that are seen from anywhere.
    """

    window: int = 128
    times: int = 6
    pivots: int = 768

    def draw_pivots(
        self, always: Bool[Tensor, "b l"], never: Bool[Tensor, "b l"], uniform: Float[Tensor, "b l"]
    ) -> Int[Tensor, "b p"]:
        """The pivots of each row: every `always` token, then others by their random numbers."""
        order = uniform - always.float() + never.float()
        return order.topk(min(self.pivots, order.shape[1]), dim=1, largest=False).indices

    def far(self, length: int, device: torch.device) -> Bool[Tensor, "l l"]:
        """True where a key lies before every window of a query: it can be seen as a pivot alone."""
        block = torch.arange(length, device=device) // self.window
        return block[:, None] - block >= self.times

    def __call__(
        self, q: _Heads, k: _Heads, v: _Heads, mask: Bool[Tensor, "#b 1 l l"], pivots: Int[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b l d"]:
        if pivots is None:
            return attend(q, k, v, mask)
        length, w, reach = q.shape[2], self.window, self.window * self.times
        extra = -length % w
        # Pivots: dense scores of few keys.
        at = pivots[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3])
        q = q / sqrt(q.shape[3])
        open_ = (mask & self.far(length, q.device)).expand(len(q), 1, length, length)
        open_ = open_.gather(3, pivots[:, None, None].expand(-1, 1, length, -1))
        far = (q @ k.gather(2, at).transpose(2, 3)) + log(length / pivots.shape[1])
        far = far.masked_fill(~open_, float("-inf"))
        # Windows: every block of queries against the keys that end with it.
        blocks = F.pad(q, (0, 0, 0, extra)).unflatten(2, (-1, w))
        keys, values = (F.pad(x, (0, 0, reach - w, extra)).unfold(2, reach, w).transpose(3, 4) for x in (k, v))
        near = (blocks @ keys.transpose(3, 4)).flatten(2, 3)[:, :, :length]
        near = near.masked_fill(~self._window_mask(mask, length, extra), float("-inf"))
        # One softmax.
        probs = torch.cat([far, near], dim=3).softmax(3)
        far, near = probs.split((far.shape[3], reach), dim=3)
        near = F.pad(near, (0, 0, 0, extra)).unflatten(2, (-1, w)) @ values
        out = far @ v.gather(2, at) + near.flatten(2, 3)[:, :, :length]
        return out.transpose(1, 2).flatten(2)

    def _window_mask(self, mask: Bool[Tensor, "#b 1 l l"], length: int, extra: int) -> Bool[Tensor, "#b 1 l r"]:
        """Which keys of its window a query may see."""
        reach = self.window * self.times
        query = torch.arange(length, device=mask.device)
        key = (query // self.window * self.window - reach + self.window)[:, None] + torch.arange(
            reach, device=mask.device
        )
        inside = (key >= 0) & (key < length)
        return inside & mask.gather(3, key.clamp(0, length - 1).expand(len(mask), 1, -1, -1))
