"""What an evaluator finds: figures with their protocol, and enough to bootstrap them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from vl.metrics.recall import Interval, bootstrap


@dataclass(frozen=True)
class Outcome:
    """Figures of one model.

    `metrics` are in percent where they are rates, `n` counts the queries, `protocol` says against what each was ranked.
    `score` gives the headline figure for counts (samples, groups) of how often each of `groups` pictures is drawn.
    """

    protocol: str
    n: int
    metrics: Mapping[str, float]
    headline: str
    score: Callable[[Tensor], Tensor]
    groups: int

    def interval(self, samples: int = 2000) -> Interval:
        """The headline figure with its 95% bootstrap interval."""
        return bootstrap(self.score, self.groups, samples=samples)

    def figures(self, against: Mapping[str, Outcome] | None = None, samples: int = 2000) -> dict[str, float]:
        """All metrics, with the intervals of the headline and of its ratio to each of the other models."""
        intervals = {self.headline: self.interval(samples)}
        intervals |= {f"ratio_to_{name}": self.ratio(other, samples) for name, other in (against or {}).items()}
        bounds = {name: (found.value, found.low, found.high) for name, found in intervals.items()}
        return {**self.metrics} | {
            f"{name}{end}": value
            for name, values in bounds.items()
            for end, value in zip(("", "/low", "/high"), values, strict=True)
        }

    def ratio(self, other: Outcome, samples: int = 2000) -> Interval:
        """The headline figure over another model's, with the interval of the paired bootstrap.

        Raises:
            ValueError: the two were not judged on the same pictures.
        """
        if (self.groups, self.protocol, self.headline) != (other.groups, other.protocol, other.headline):
            raise ValueError(f"models judged differently cannot be paired: {self.protocol!r} and {other.protocol!r}")
        return bootstrap(self.score, self.groups, other.score, samples=samples)
