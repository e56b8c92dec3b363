"""Objects of a picture on a grid: what a judge of generated pictures learns to find."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from vl.data.sample import Object, Sample
from vl.data.views.base import Example, View, picture
from vl.data.views.pictures import PictureView
from vl.draw import Draw


@dataclass(frozen=True)
class ObjectsView(PictureView):
    """An example is a picture, with a grid whose cells say which object has its centre there.

    `targets["objects"]` (side, side, 2) holds the number of the object's name and of its first attribute that is
    listed; -1 for none.

    Args:
        names: of objects, in the order of the classes.
        attributes: such as colours.
        side: cells a side.
    """

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    side: int = 8

    members = View.members

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        grid = torch.full((self.side, self.side, 2), -1)
        for thing in sample.record.objects:
            column, row = (min(int(c * self.side), self.side - 1) for c in centre(thing))
            grid[row, column] = self.numbers(thing, sample.key)
        return Example(sample.key, images=(picture(sample),), targets={"objects": grid})

    def numbers(self, thing: Object, key: str = "") -> Int[Tensor, " 2"]:
        """The numbers of an object's name and attribute.

        Raises:
            ValueError: either is not listed.
        """
        attribute = next((a for a in thing.attributes if a in self.attributes), None)
        if thing.name not in self.names or attribute is None:
            raise ValueError(f"sample {key}: {thing.name!r} {thing.attributes} is none of the listed objects")
        return torch.tensor([self.names.index(thing.name), self.attributes.index(attribute)])


def centre(thing: Object) -> tuple[float, float]:
    """x and y, in 0..1."""
    x0, y0, x1, y1 = thing.box
    return (x0 + x1) / 2, (y0 + y1) / 2
