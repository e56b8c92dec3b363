"""Several trained models of one task that answer together, by the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from vl.batch import Batch, Encoded
from vl.models.base import VLModel
from vl.tasks.base import Task


class Ensemble:
    """Models with their heads for the same task; probabilities are a softmax over what a task gives `logits` of.

    Args:
        members: Each a model and its task.

    Raises:
        ValueError: there are several, and the task has no logits that could be averaged.
    """

    def __init__(self, members: Sequence[tuple[VLModel, Task]]) -> None:
        self.members = members
        task = members[0][1]
        if len(members) > 1 and not hasattr(task, "logits"):
            raise ValueError(f"{type(task).__name__} does not choose among classes: its models cannot answer together")

    @torch.inference_mode()
    def predict(self, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The answers to a batch; those of a single member are its own."""
        model, task = self.members[0]
        if len(self.members) == 1:
            return task.predict(model, batch)
        logps = torch.stack([self._probs(*member, batch) for member in self.members]).mean(0).log()
        voice: Any = copy(task)  # answers as the task does, from these logits in the place of its own
        voice.logits = lambda output, batch: logps
        return voice.answer(Encoded(), batch)

    def _probs(self, model: VLModel, task: Any, batch: Batch) -> Tensor:
        return task.logits(model(batch), batch).float().softmax(-1)
