"""A small convolutional network that says for each cell of a picture which object stands there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from vl.batch import Batch, Encoded
from vl.models.base import VLModel
from vl.models.image_tokenizer import to_unit


class ObjectGrid(VLModel):
    """Trained from scratch on pictures of `image_size` pixels: three stages of stride 2, then two at that resolution.

    Names are told from brightness alone, so that a thing is known in colours that no training picture shows it in;
    attributes are read from the colours by a smaller network.

    `Encoded.visual` holds a row of class scores for each of the cells (8 pixels a side, row by row): `names` and one
    for none, then `attributes`.

    Args:
        names: of objects, in the order of their classes.
        attributes: such as colours, of which an object has one.
        width: channels of the last stage.
        image_size: pixels a side.
    """

    provides = frozenset({"visual", "object_grid"})

    def __init__(self, names: Sequence[str], attributes: Sequence[str], width: int = 128, image_size: int = 64) -> None:
        super().__init__()
        self.names, self.attributes = tuple(names), tuple(attributes)
        self.width, self.image_size = width, image_size
        shapes = [*downward(1, width), *stage(width, width, 1), *stage(width, width, 1)]
        self.shapes = nn.Sequential(*shapes, nn.Conv2d(width, len(names) + 1, 1))
        self.colours = nn.Sequential(*downward(3, width // 2), nn.Conv2d(width // 2, len(attributes), 1))

    def forward(self, batch: Batch) -> Encoded:
        return Encoded(visual=self.scores(batch.visual.pixels))

    def scores(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        x = to_unit(pixels) * 4 - 2
        return torch.cat([self.shapes(x.mean(1, keepdim=True)), self.colours(x)], dim=1).flatten(2).transpose(1, 2)

    @torch.inference_mode()
    def probs(self, pixels: Shaped[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b n k"], Float[Tensor, "b n a"]]:
        """For each cell, how likely each name has its centre there, and each attribute if any has."""
        names, attributes = self.scores(pixels).split((len(self.names) + 1, len(self.attributes)), dim=2)
        return names.softmax(2)[..., :-1], attributes.softmax(2)


def downward(channels: int, width: int) -> list[nn.Module]:
    """Three times half the resolution."""
    pairs = pairwise((channels, width // 4, width // 2, width))
    return [layer for before, after in pairs for layer in stage(before, after, 2) + stage(after, after, 1)]


def stage(before: int, after: int, stride: int) -> list[nn.Module]:
    """A convolution with normalisation."""
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
