"""What tasks with a fixed set of labels share: cross-entropy over classes of an example, and its accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch, Encoded, Loss
from vl.losses.masked import cross_entropy, hits
from vl.metrics.by_type import MeanByType
from vl.tasks.base import Task


class Classification(Task):
    """Cross-entropy over the classes of an example; a task gives the logits, and says how a class is submitted.

    The batch's targets are `id`, `label` (a class) and `type`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.metric = MeanByType("accuracy")

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b c"]:
        """Of every class of every example."""
        raise NotImplementedError

    def submitted(self, name: str, chosen: int) -> dict[str, Any]:
        """One answer in the benchmark's submission format."""
        raise NotImplementedError

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        """The loss of all examples."""
        logits, labels = self.logits(output, batch), batch.targets["label"]
        count = torch.tensor(len(labels), device=labels.device)
        return Loss(cross_entropy(logits, labels).sum(), count, {"accuracy": (hits(logits, labels), count)})

    def answer(self, output: Encoded, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The submission's fields, and whether each answer is right."""
        chosen = self.logits(output, batch).argmax(1).tolist()
        labels, targets = batch.targets["label"].tolist(), batch.targets
        return [
            self.submitted(name, one) | {"accuracy": float(one == label), "type": kind}
            for name, one, label, kind in zip(targets["id"], chosen, labels, targets["type"], strict=True)
        ]
