"""Schedules: numbers that follow the step of training."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True)
class Cosine:
    """From `start` at step 0 along half a cosine to `end` at step `steps`, and `end` from then on."""

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        share = min(step / self.steps, 1.0) if self.steps else 1.0
        return self.end + (self.start - self.end) * (1 + cos(pi * share)) / 2
