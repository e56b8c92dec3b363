"""What an objective is to the rest of VL."""

from __future__ import annotations

from typing import Any

from torch import nn

from vl.batch import Batch, Loss
from vl.draw import Draw
from vl.models.base import VLModel


class Objective(nn.Module):
    """A loss with what belongs to it: what it needs of a model, how it corrupts a batch, its heads.

    A training step corrupts the batch with every objective of its source in the listed order, runs the model once and
    sums the objectives' losses by weight. The order of calls is `setup` once, then for each step `corrupt`, `forward`
    and `after_step`.
    """

    #: What the model must provide.
    needs: frozenset[str] = frozenset()
    #: True for an objective that overrides `step`; it must be the only objective of its source.
    steps_alone: bool = False
    #: True for a loss between examples (contrast). When micro-batches are accumulated, and in evaluation, `forward`
    #: is called once for all of them: with their outputs of what it `needs` joined, a batch that holds their keys
    #: alone, and no target. Its trainable parameters belong to the model.
    whole_batch: bool = False

    def setup(self, model: VLModel) -> None:
        """Build heads for this model, or tie them to its parts. The model itself is never stored."""

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Any]:
        """The batch the model shall see, and the target `forward` will be given. Pure: random only through `draw`."""
        return batch, None

    def forward(self, output: Any, batch: Batch, target: Any) -> Loss:
        """The loss of one (micro-)batch as a sum and a count; `output` is an `Encoded` or a `Reconstruction`."""
        raise NotImplementedError

    def step(self, model: VLModel, batch: Batch, draw: Draw) -> Loss:
        """One whole step, for an objective that runs the model more than once (`steps_alone`)."""
        raise NotImplementedError

    def after_step(self, model: VLModel) -> None:
        """Called after the optimiser's step: momentum copies, queues, clipped temperatures."""
