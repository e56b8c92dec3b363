"""What a downstream task is to the rest of VL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torchmetrics import Metric

from vl.batch import Batch
from vl.models.base import VLModel
from vl.objectives.base import Objective

#: Fields of an answer that are ours: they say how good it is.
SCORES = ("accuracy", "type")


class Task(Objective):
    """An objective that can also answer: fine-tuned by its loss, judged by its metric."""

    #: A torchmetrics metric that `validate` and `test` update with (answers, batch) and log.
    metric: Metric | None

    def __init__(self) -> None:
        super().__init__()
        # Not a class attribute: that would hide the submodule which `self.metric = ...` makes.
        self.metric = None

    def predict(self, model: VLModel, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The answers of a batch, one JSON-able mapping an example: one forward pass unless overridden."""
        return self.answer(model(batch), batch)

    def answer(self, output: Any, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The answers that follow from one output of the model (an `Encoded` or a `Reconstruction`), one JSON-able
        mapping an example."""
        raise NotImplementedError

    def submission(self, answers: Sequence[Mapping[str, Any]]) -> str:
        """The answers as a file that the benchmark's server takes: by default a JSON list, without our scores."""
        rows = [{name: value for name, value in one.items() if name not in SCORES} for one in answers]
        return json.dumps(rows, ensure_ascii=False) + "\n"
