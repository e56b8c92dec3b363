"""What answers of a fine-tuned model come to: means over types with intervals, and what guessing gives."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

import torch
from torch import Tensor

from vl.metrics.recall import Interval, bootstrap

#: Two-sided 95% quantiles of Student's t, by degrees of freedom.
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Row:
    """One answer: of which picture, in which language, to what type of question, how good (0 to 1), what was right."""

    key: str
    language: str
    type: str
    score: float
    truth: str = ""


@dataclass(frozen=True)
class Figures:
    """What the answers in one language come to, in percent: the mean over types with its 95% interval over pictures,
    the same mean for the most frequent right answer of each type, and the mean of each type."""

    mean: Interval
    majority: float
    types: Mapping[str, float]
    n: int

    def metrics(self) -> dict[str, float]:
        """The metrics of a finding, without the interval."""
        return {"value": self.mean.value, "majority": self.majority} | {f"of {k}": v for k, v in self.types.items()}


def figures(rows: Sequence[Row]) -> Figures:
    """What some rows of one language come to."""
    truths: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        truths[row.type][row.truth] += 1
    majority = fmean(max(counts.values()) / counts.total() for counts in truths.values())
    scores = {kind: fmean(row.score for row in rows if row.type == kind) for kind in sorted(truths)}
    percent = {kind: 100 * score for kind, score in scores.items()}
    return Figures(mean_of_types(rows), 100 * majority, percent, len(rows))


def mean_of_types(rows: Sequence[Row]) -> Interval:
    """The mean over types of their mean scores, in percent; what is drawn again is the picture."""
    keys, kinds = (dict.fromkeys(getattr(row, name) for row in rows) for name in ("key", "type"))
    places = {key: number for number, key in enumerate(keys)}
    owners = torch.tensor([places[row.key] for row in rows])
    values = torch.tensor([row.score for row in rows])
    members = [torch.tensor([row.type == kind for row in rows]) for kind in kinds]

    def score(weights: Tensor) -> Tensor:
        drawn = weights[:, owners].float()
        return 100 * torch.stack([drawn[:, own] @ values[own] / drawn[:, own].sum(1) for own in members]).mean(0)

    return bootstrap(score, len(places))


def both_right(rows: Sequence[Row], first: str, second: str) -> float:
    """Percent of the examples of type `first` that are right, and whose next one, of type `second`, is too."""
    both = [a.score * b.score for a, b in pairwise(rows) if a.key == b.key and (a.type, b.type) == (first, second)]
    return 100 * fmean(both) if both else float("nan")


def mean_of_runs(values: Sequence[float]) -> Interval:
    """The mean of several runs with its 95% interval by Student's t; of one run there is none."""
    if len(values) < 2:
        return Interval(fmean(values), float("nan"), float("nan"))
    quantile = _T[len(values) - 2] if len(values) < len(_T) + 2 else 1.96
    reach = quantile * stdev(values) / len(values) ** 0.5
    return Interval(fmean(values), fmean(values) - reach, fmean(values) + reach)
