"""The metric of downstream tasks: the mean score of all answers, of each type of question, and of the types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from torchmetrics import Metric

from vl.batch import Batch
from vl.ranks import gather_objects


class MeanByType(Metric):
    """Means of what a task's answers carry: each field of `fields` is a number, `type` is what its question is of.

    In percent: `accuracy` over all answers, `accuracy/of_types` over the types' own means, `accuracy/TYPE` of each.

    Args:
        fields: which numbers.
    """

    full_state_update = False

    def __init__(self, *fields: str) -> None:
        super().__init__()
        self.fields = fields
        self.sums: dict[str, dict[str, tuple[float, int]]] = {}

    def update(self, answers: Sequence[Mapping[str, Any]], batch: Batch) -> None:
        """Add the answers of a batch; a field that an answer lacks is not counted."""
        for answer in answers:
            for field in self.fields:
                if field in answer:
                    of_types = self.sums.setdefault(field, {})
                    total, count = of_types.get(answer.get("type", ""), (0.0, 0))
                    of_types[answer.get("type", "")] = (total + float(answer[field]), count + 1)

    def compute(self) -> dict[str, float]:
        """The means over all ranks."""
        merged: dict[str, dict[str, tuple[float, int]]] = {}
        for sums in gather_objects(self.sums):
            for field, of_types in sums.items():
                for kind, (total, count) in of_types.items():
                    old = merged.setdefault(field, {}).get(kind, (0.0, 0))
                    merged[field][kind] = (old[0] + total, old[1] + count)
        means: dict[str, float] = {}
        for field, of_types in merged.items():
            totals, counts = zip(*of_types.values(), strict=True)
            means[field] = 100 * sum(totals) / sum(counts)
            each = {kind: 100 * total / count for kind, (total, count) in sorted(of_types.items()) if kind}
            if len(each) > 1:
                means |= {f"{field}/of_types": fmean(each.values())}
            means |= {f"{field}/{kind}": value for kind, value in each.items()}
        return means

    def reset(self) -> None:
        super().reset()
        self.sums = {}
