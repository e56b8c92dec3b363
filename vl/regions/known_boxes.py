"""Boxes of a picture about which everything is known, made to look like a detector's: jittered, among background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from vl.data.sample import Object
from vl.draw import Draw

#: Boxes drawn for the background; the first that keep clear of everything are taken.
_CANDIDATES = 160


@dataclass(frozen=True)
class KnownBoxes:
    """The box of every object and boxes of the background, a function of the seed and the picture's key alone.

    The number of rows is drawn without regard to the number of objects, of which it therefore says nothing.

    Args:
        least, most: rows of a picture; one with more than `most` objects has as many rows as objects.
        jitter: the largest shift of an edge, as a share of the box's side.
        sides: least and largest side of a box of the background, as a share of the picture's.
        overlap: the largest intersection over union of a background box with an object, where there is room.
        seed: of all random numbers.
    """

    least: int = 10
    most: int = 36
    jitter: float = 0.08
    sides: tuple[float, float] = (0.12, 0.5)
    overlap: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most:
            raise ValueError(f"rows from {self.least} to {self.most}: it takes 0 < least <= most")

    def __call__(self, key: str, objects: Sequence[Object]) -> tuple[Float[Tensor, "n 4"], Int[Tensor, " n"]]:
        """The boxes, and the number of the object that each shows, -1 for the background."""
        draw = Draw.of(self.seed, 0, 0, torch.tensor([_number(key)]))
        known = torch.tensor([thing.box for thing in objects], dtype=torch.float32).view(-1, 4)
        count = max(int(draw.fold("rows").integers(self.most - self.least + 1)) + self.least, len(known))
        found = self._jittered(known, draw.fold("jitter"))
        boxes = torch.cat([found, self._background(known, count - len(known), draw.fold("background"))])
        owners = torch.full((count,), -1)
        owners[: len(known)] = torch.arange(len(known))
        return boxes, owners

    def _jittered(self, boxes: Tensor, draw: Draw) -> Float[Tensor, "k 4"]:
        if not len(boxes):
            return boxes
        shifts = (2 * draw.uniform(len(boxes), 4)[0] - 1) * self.jitter
        sides = boxes[:, 2:] - boxes[:, :2]
        return (boxes + shifts * sides.repeat(1, 2)).clamp(0, 1)

    def _background(self, known: Tensor, count: int, draw: Draw) -> Float[Tensor, "m 4"]:
        """Boxes that keep clear of the known ones; where there is no room for so many, those that overlap least."""
        numbers, (least, most) = draw.uniform(_CANDIDATES, 4)[0], self.sides
        sides = least + (most - least) * numbers[:, :2]
        corners = numbers[:, 2:] * (1 - sides)
        boxes = torch.cat([corners, corners + sides], dim=1)
        overlap = box_iou(boxes, known).amax(dim=1) if len(known) else torch.zeros(_CANDIDATES)
        return boxes[overlap.clamp(min=self.overlap).argsort(stable=True)[:count]]


def _number(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest(), "little", signed=True)
