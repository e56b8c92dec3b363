"""Controls: a model that is shown less than there is, so that a figure says what it owes to the picture.

Trained and judged as the model itself, with the same task, steps and data. Tasks read the batch as it is: regions keep
their true boxes where an answer is a region.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Reconstruction, Visual
from vl.models.base import VLModel


class Control(VLModel):
    """A model that is given other regions than the batch holds.

    Args:
        model: of regions.
    """

    def __init__(self, model: VLModel) -> None:
        super().__init__()
        self.model = model
        self.provides, self.width = model.provides, model.width
        self.visual_width, self.pooled_width = model.visual_width, model.pooled_width
        self.vocab_size, self.context_length, self.image_size = model.vocab_size, model.context_length, model.image_size

    @property
    def word_embedding(self) -> nn.Embedding:
        return self.model.word_embedding

    @property
    def visual_projection(self) -> nn.Linear:
        return self.model.visual_projection

    def forward(self, batch: Batch) -> Encoded | Reconstruction:
        return self.model(self.see(batch))

    def see(self, batch: Batch) -> Batch:
        """The batch as the model is given it."""
        return batch if batch.visual is None else replace(batch, visual=self.shown(batch.visual, batch))

    def shown(self, visual: Visual, batch: Batch) -> Visual:
        """What the model is given in the place of the batch's regions."""
        raise NotImplementedError

    def blocks(self) -> Iterable[nn.Module]:
        return self.model.blocks()

    def depth_of(self, name: str) -> float:
        return self.model.depth_of(name.removeprefix("model."))


class TextOnly(Control):
    """There are no regions: only the text is left."""

    def shown(self, visual: Visual, batch: Batch) -> Visual:
        return replace(visual, mask=torch.zeros_like(visual.mask))


class MeanFeature(Control):
    """Every region has the same feature: boxes and their number are left.

    Args:
        model: of regions.
        file: `.npy` of the feature, the mean of all regions of the training data.
    """

    def __init__(self, model: VLModel, file: str) -> None:
        super().__init__(model)
        self.file = file

    @cached_property
    def feature(self) -> Float[Tensor, " f"]:
        """Raises a ValueError where the file is missing."""
        if not Path(self.file).is_file():
            raise ValueError(f"there is no mean feature {self.file}; tools/finetune_report.py makes it")
        return torch.from_numpy(np.load(self.file, allow_pickle=False)).float()

    def shown(self, visual: Visual, batch: Batch) -> Visual:
        return replace(visual, features=self.feature.to(visual.features).expand_as(visual.features))


class ShuffledBoxes(Control):
    """The boxes of a picture are exchanged between its regions, anew in every epoch: what there is is left, and where
    something is, but not what is where."""

    def shown(self, visual: Visual, batch: Batch) -> Visual:
        coins = batch.draw.fold("boxes").uniform(visual.mask.numel() // len(batch)).view(visual.mask.shape)
        # Regions in a random order stand where regions are; the padding keeps its place.
        order = coins.masked_fill(~visual.mask, 2.0).argsort(1)
        places = (~visual.mask).to(torch.uint8).argsort(dim=1, stable=True)
        source = torch.empty_like(order).scatter(1, places, order)
        return replace(visual, boxes=visual.boxes.gather(1, source[..., None].expand_as(visual.boxes)))
