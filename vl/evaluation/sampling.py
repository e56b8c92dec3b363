"""Sampling: from logits to codes, by one uniform number each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn.

    Args:
        temperature: the logits are divided by it; 0 takes the likeliest code.
        top_k: draw from so many likeliest codes; None for all.
        top_p: draw from the likeliest codes that together have this probability; None for all.
        guidance: classifier-free guidance: 1 for none, s for uncond + s (cond - uncond). For models that were trained
            on examples without text.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 (the likeliest code) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; it must be at least 1, or None for all codes")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must lie in (0, 1], or be None for all codes")

    def draw(self, logits: Float[Tensor, "b k"], uniform: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """A code for each row: where the row's number falls in the cumulative distribution."""
        if self.temperature == 0:
            return logits.argmax(1)
        codes: Tensor | None = None
        if self.top_k is not None or self.top_p is not None:
            logits, codes = logits.topk(min(self.top_k or logits.shape[1], logits.shape[1]), dim=1)
        probs = (logits.float() / self.temperature).softmax(1)
        if self.top_p is not None:
            probs = probs * (probs.cumsum(1) - probs < self.top_p)
        edges = probs.cumsum(1)
        index = torch.searchsorted(edges, uniform[:, None] * edges[:, -1:], right=True).clamp(max=probs.shape[1] - 1)
        return (index if codes is None else codes.gather(1, index)).squeeze(1)
