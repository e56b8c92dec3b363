"""Random numbers as a pure function of (seed, epoch, source, example, purpose).

A counter hash (the SplitMix64 finaliser; Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
generators", OOPSLA) on int64 tensors. The numbers of an example are the same on every device and for any number
of ranks, workers and micro-batches, so nothing random has to be saved to resume a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; products wrap, and the masks make the shifts logical."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _FIRST
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _SECOND
    return x ^ ((x >> 31) & (2**33 - 1))


def _bits(key: int, example: int) -> int:
    """`Draw.bits` for one number of one example, without tensors: what a loader asks for again and again."""
    row = example * _GOLDEN + key
    for offset in (0, _GOLDEN):
        row = (row + offset) % 2**64
        row = (row ^ (row >> 30)) * _FIRST % 2**64
        row = (row ^ (row >> 27)) * _SECOND % 2**64
        row ^= row >> 31
    return row % 2**63


@lru_cache(maxsize=4096)
def _digest(*parts: int | str) -> int:
    """A signed 64-bit number for a tuple of names and integers, the same in every process."""
    content = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts).encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little", signed=True)


@dataclass(frozen=True)
class Draw:
    """The random numbers of some examples; `fold` a purpose in before drawing.

    Two draws of the same shape from the same `Draw` are equal, so every use folds in its own name:
    `draw.fold("mask").uniform(length)`.
    """

    key: int
    examples: Int[Tensor, " b"]

    @classmethod
    def of(cls, seed: int, epoch: int, source: int, examples: Int[Tensor, " b"]) -> Draw:
        """The numbers of the examples with these ids (indices into a source) in one epoch of a run."""
        return cls(_digest(seed, epoch, source), examples)

    def fold(self, purpose: str | int) -> Draw:
        """Independent numbers for one purpose."""
        return replace(self, key=_digest(self.key, purpose))

    def select(self, owners: Int[Tensor, " n"], slots: Int[Tensor, " n"] | int = 0) -> Draw:
        """Numbers for n things that belong to examples: thing i is slot `slots[i]` of example `owners[i]`."""
        return replace(self, examples=_mix(self.examples[owners] * _GOLDEN + slots + 1))

    def bits(self, *shape: int) -> Int[Tensor, "b ..."]:
        """63 random bits each, as non-negative int64, of shape (b, *shape)."""
        if not shape and len(self.examples) == 1:
            return torch.tensor([_bits(self.key, int(self.examples))])
        rows = _mix(self.examples * _GOLDEN + self.key)
        counters = torch.arange(1, prod(shape) + 1, device=rows.device) * _GOLDEN
        return (_mix(rows[:, None] + counters) & (2**63 - 1)).view(len(rows), *shape)

    def uniform(self, *shape: int) -> Float[Tensor, "b ..."]:
        """float32 numbers in [0, 1), of shape (b, *shape)."""
        return (self.bits(*shape) >> 39).to(torch.float32) / 2**24

    def integers(self, high: int, *shape: int) -> Int[Tensor, "b ..."]:
        """Integers in 0..high-1 (high below 2**32), of shape (b, *shape)."""
        return self.bits(*shape) % high
