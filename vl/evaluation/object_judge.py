"""The judge of generated pictures: are the objects that were asked for there, in their colour and at their place?

It is trained on real scenes (`vl.models.object_grid`), and its accuracy on held-out real scenes stands beside every
figure it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from vl.data.sample import Object
from vl.data.views.objects import ObjectsView, centre
from vl.models.object_grid import ObjectGrid

Point = tuple[float, float]


def place_of(x: float, y: float) -> str | None:
    """Left, right, top, bottom or middle of the picture; None between them. As datasets/scenes says it."""
    if max(abs(x - 0.5), abs(y - 0.5)) <= 0.1:
        return "middle"
    beside, above = abs(x - 0.5), abs(y - 0.5)
    if beside >= above:
        return ("left" if x < 0.5 else "right") if beside >= 0.14 else None
    return ("top" if y < 0.5 else "bottom") if above >= 0.14 else None


@dataclass(frozen=True)
class Verdict:
    """Of each asked object: is one of its name there, in its attribute, at its place, all of it (found)?

    Of each picture: are there as many objects as asked for, does every pair stand as asked (left of, above), and is
    everything there?
    """

    named: Bool[Tensor, " n"]
    coloured: Bool[Tensor, " n"]
    placed: Bool[Tensor, " n"]
    owner: Shaped[Tensor, " n"]
    counted: Bool[Tensor, " p"]
    related: Float[Tensor, " p"]

    @property
    def found(self) -> Bool[Tensor, " n"]:
        return self.named & self.coloured & self.placed

    @property
    def share(self) -> Float[Tensor, " p"]:
        """Of each picture, the share of its objects that is found."""
        sums = torch.zeros(2, len(self.counted))
        sums[0].index_add_(0, self.owner, self.found.float())
        sums[1].index_add_(0, self.owner, torch.ones(len(self.owner)))
        return sums[0] / sums[1].clamp(min=1)

    def metrics(self) -> dict[str, float]:
        """In percent; objects weigh alike, whichever picture they are asked of."""
        whole = self.share == 1
        figures = {"object_accuracy": self.found, "name": self.named, "name_and_colour": self.named & self.coloured}
        figures |= {"all_present": whole, "count": self.counted, "relations": self.related}
        return {name: 100 * float(value.float().mean()) for name, value in figures.items()}


@dataclass(frozen=True)
class ObjectJudge:
    """A trained `ObjectGrid`, asked about objects."""

    model: ObjectGrid

    @property
    def view(self) -> ObjectsView:
        """What it was trained on."""
        return ObjectsView(self.model.names, self.model.attributes, self.model.image_size // 8)

    def __call__(self, pixels: Shaped[Tensor, "p 3 h w"], asked: Sequence[Sequence[Object]]) -> Verdict:
        """What of `asked` is in the pictures.

        A name is there if its probabilities over all cells add up to at least a half: a centre between two cells is
        divided among them. Colour and place are those of these cells together.
        """
        view, (names, attributes) = self.view, self._probs(pixels)
        ticks = (torch.arange(view.side) + 0.5) / view.side
        points = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), 2).flatten(0, 1)
        found: list[tuple[bool, bool, bool, int]] = []
        counted, related = [], []
        for picture, things in enumerate(asked):
            where = []
            for thing in things:
                name, colour = view.numbers(thing).tolist()
                weight = names[picture, :, name]
                total = float(weight.sum())
                share = weight / max(total, 1e-6)
                x, y = (share[:, None] * points).sum(0).tolist()
                hue = int((share[:, None] * attributes[picture]).sum(0).argmax())
                where.append((x, y))
                found.append((total >= 0.5, hue == colour, place_of(x, y) == place_of(*centre(thing)), picture))
            counted.append(round(float(names[picture].sum())) == len(things))
            there = all(row[0] for row in found[len(found) - len(things) :])
            related.append(float(there) * relations_kept([centre(thing) for thing in things], where))
        columns = list(zip(*found, strict=True))
        flags = (torch.tensor(column) for column in columns)
        return Verdict(*flags, torch.tensor(counted), torch.tensor(related))  # type: ignore[call-arg]

    def _probs(self, pixels: Shaped[Tensor, "p 3 h w"], size: int = 128) -> tuple[Tensor, Tensor]:
        parts = [self.model.eval().probs(part) for part in pixels.split(size)]
        names, attributes = zip(*parts, strict=True)
        return torch.cat(names), torch.cat(attributes)


def relations_kept(asked: Sequence[Point], seen: Sequence[Point], clear: float = 0.13) -> float:
    """The share of pairs that are plainly beside or above each other and are so in the picture; 1 where none is."""
    kept = [
        (b[axis] - a[axis]) * (seen[j][axis] - seen[i][axis]) > 0
        for i, a in enumerate(asked)
        for j, b in enumerate(asked[:i])
        for axis in (0, 1)
        if abs(a[axis] - b[axis]) >= clear
    ]
    return sum(kept) / len(kept) if kept else 1.0
