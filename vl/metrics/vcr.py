"""VCR's three accuracies while a run validates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchmetrics import Metric

from vl.batch import Batch
from vl.metrics.consistency import percent, vcr_scores
from vl.ranks import gather_objects


class VcrAccuracy(Metric):
    """Q->A and QA->R over what was answered; Q->AR over the questions of which both were."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.right: dict[tuple[str, str], bool] = {}

    def update(self, answers: Sequence[Mapping[str, Any]], batch: Batch) -> None:
        """Add the answers of a batch."""
        self.right |= {(one["annot_id"], one["subtask"]): bool(one["accuracy"]) for one in answers}

    def compute(self) -> dict[str, float]:
        """In percent, over all ranks."""
        right = {place: hit for part in gather_objects(self.right) for place, hit in part.items()}
        answers, rationales = (
            {name: hit for (name, subtask), hit in right.items() if subtask == part} for part in ("answer", "rationale")
        )
        if both := sorted(answers.keys() & rationales.keys()):
            scores = vcr_scores([answers[name] for name in both], [rationales[name] for name in both])
            return scores | {"Q->A": percent(answers.values()), "QA->R": percent(rationales.values())}
        parts = {"Q->A": answers, "QA->R": rationales}
        return {name: percent(hits.values()) for name, hits in parts.items() if hits}

    def reset(self) -> None:
        super().reset()
        self.right = {}
