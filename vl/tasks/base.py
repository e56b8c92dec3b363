"""What a downstream task is to the rest of VL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchmetrics import Metric

from vl.batch import Batch, Encoded, Reconstruction
from vl.models.base import VLModel
from vl.objectives.base import Objective


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

    def answer(self, output: Encoded | Reconstruction, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The answers that follow from one output of the model, one JSON-able mapping an example."""
        raise NotImplementedError
