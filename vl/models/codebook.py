"""Codebooks: continuous vectors become the number of a vector, in the ways that CogView compares.

"CogView: Mastering Text-to-Image Generation via Transformers", arXiv:2105.13290, section 2.2; the moving average is
that of "Neural Discrete Representation Learning", arXiv:1711.00937, appendix A.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vl.draw import Draw
from vl.losses.reconstruction import kl_to_uniform
from vl.ranks import gather_rows, sum_over_ranks


class Quantized(NamedTuple):
    """Vectors that carry gradients to what was quantized, their codes, and a term of the loss, summed over vectors."""

    vectors: Float[Tensor, "n d"]
    codes: Int[Tensor, " n"]
    commitment: Float[Tensor, ""]


class Codebook(nn.Module):
    """`num_codes` vectors of `width` numbers."""

    vectors: Tensor

    def __init__(self, num_codes: int, width: int) -> None:
        super().__init__()
        self.num_codes, self.width = num_codes, width

    def start_vectors(self) -> Float[Tensor, "k d"]:
        return torch.randn(self.num_codes, self.width) / self.width**0.5

    def distances(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Squared distances to all codes."""
        # Near codes differ by less than half precision can tell.
        with torch.autocast(z.device.type, enabled=False):
            square = z.square().sum(1, keepdim=True) + self.vectors.square().sum(1)
            return torch.addmm(square, z, self.vectors.T, alpha=-2)

    def nearest(self, z: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        return self.distances(z).argmin(1)

    def look_up(self, codes: Int[Tensor, "*s"]) -> Float[Tensor, "*s d"]:
        return F.embedding(codes, self.vectors)

    def forward(self, z: Float[Tensor, "n d"]) -> Quantized:
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """Called after each step of the optimiser."""


class GradientCodebook(Codebook):
    """The nearest code, straight through; codes learn by the gradient of their distance (VQ-VAE's first form)."""

    def __init__(self, num_codes: int, width: int, commitment: float = 0.25) -> None:
        super().__init__(num_codes, width)
        self.commitment = commitment
        self.vectors = nn.Parameter(self.start_vectors())

    def forward(self, z: Float[Tensor, "n d"]) -> Quantized:
        codes = self.nearest(z)
        found = self.look_up(codes)
        loss = (found - z.detach()).square().sum() / self.width
        loss = loss + self.commitment * (z - found.detach()).square().sum() / self.width
        return Quantized(z + (found - z).detach(), codes, loss)


class GumbelCodebook(Codebook):
    """A code drawn by its nearness, through the Gumbel-softmax relaxation; the loss is the divergence from uniform.

    Args:
        num_codes, width: of the codebook.
        hard: draw one code, straight through, instead of a mixture.
        kl_weight: of the divergence.
    """

    temperature: Tensor

    def __init__(self, num_codes: int, width: int, hard: bool = False, kl_weight: float = 5e-4) -> None:
        super().__init__(num_codes, width)
        self.hard, self.kl_weight = hard, kl_weight
        self.vectors = nn.Parameter(self.start_vectors())
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, z: Float[Tensor, "n d"]) -> Quantized:
        logits = -self.distances(z)
        codes = logits.argmax(1)
        if not self.training:
            return Quantized(self.look_up(codes), codes, logits.new_zeros(()))
        mixture = F.gumbel_softmax(logits, float(self.temperature), hard=self.hard, dim=1)
        return Quantized(mixture @ self.vectors, codes, self.kl_weight * kl_to_uniform(logits).sum())


class MovingAverageCodebook(Codebook):
    """The nearest code, straight through; a code is the running mean of the vectors that chose it.

    The statistics of a step are summed over its micro-batches and ranks, so any number of them gives what one big
    batch gives. With `decay` 1 the codebook stays as it began (CogView's fixed codebook).

    Args:
        num_codes, width: of the codebook.
        decay: of the running means.
        commitment: weight of the encoder's distance to its codes.
        revive_below: a code that is chosen less often than this in a step, in the running mean, is moved to a vector
            of that step; None leaves it where it is. Which vector depends on how they lie on ranks.
    """

    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        num_codes: int,
        width: int,
        decay: float = 0.99,
        commitment: float = 0.25,
        revive_below: float | None = None,
    ) -> None:
        super().__init__(num_codes, width)
        self.decay, self.commitment, self.revive_below = decay, commitment, revive_below
        vectors = self.start_vectors()
        self.register_buffer("vectors", vectors)
        self.register_buffer("sums", vectors.clone())
        self.register_buffer("counts", torch.zeros(num_codes))
        # Of the step so far. No buffers: DDP would overwrite them with those of rank 0 at every forward.
        self._seen: tuple[Tensor, Tensor] | None = None
        self._recent: Tensor | None = None

    def forward(self, z: Float[Tensor, "n d"]) -> Quantized:
        codes = self.nearest(z)
        if self.training:
            self._observe(z.detach().float(), codes)
        found = self.look_up(codes).to(z.dtype)
        loss = self.commitment * (z - found).float().square().sum() / self.width
        return Quantized(z + (found - z).detach(), codes, loss)

    def _observe(self, z: Float[Tensor, "n d"], codes: Int[Tensor, " n"]) -> None:
        counts, sums = self._seen or (torch.zeros_like(self.counts), torch.zeros_like(self.sums))
        self._seen = counts + torch.bincount(codes, minlength=self.num_codes), sums.index_add(0, codes, z)
        if self.revive_below is not None:
            self._recent = z[:: max(1, len(z) // self.num_codes)]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if self._seen is None:  # nothing was seen in training mode
            return
        counts, sums = map(sum_over_ranks, self._seen)
        self._seen = None
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        if self.decay < 1:
            total = self.counts.sum()
            smoothed = (self.counts + 1e-5) / (total + self.num_codes * 1e-5) * total
            self.vectors.copy_(self.sums / smoothed[:, None])
        if self.revive_below is not None:
            self._revive(step)

    def _revive(self, step: int) -> None:
        recent = gather_rows(self._recent)
        dead = (self.counts < self.revive_below).nonzero().flatten()
        chosen = recent[Draw.of(0, step, 0, dead).fold("revive").integers(len(recent), 1).flatten()]
        self.vectors[dead] = chosen
        # As if it had just been chosen often enough to live on for a while.
        self.counts[dead] = 2 * self.revive_below
        self.sums[dead] = 2 * self.revive_below * chosen
