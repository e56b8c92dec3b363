"""Augmentations of drawings: what carries a model from one style to others that it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pixel_ops

from vl.data.stages import Augment


@dataclass(frozen=True)
class Sometimes(Augment):
    """Does all of `steps`, in order, with probability `prob`, so that the other pictures stay as they are."""

    steps: list[Augment]
    prob: float = 0.5

    @property
    def num_draws(self) -> int:  # type: ignore[override]
        return 1 + sum(step.num_draws for step in self.steps)

    def apply(self, pixels: Tensor, numbers: Sequence[float]) -> Tensor:
        if numbers[0] >= self.prob:
            return pixels
        first = 1
        for step in self.steps:
            pixels = step.apply(pixels, numbers[first : first + step.num_draws])
            first += step.num_draws
        return pixels


@dataclass(frozen=True)
class Affine(Augment):
    """Rotates, shifts and scales; `background` fills what comes into view.

    Args:
        degrees: Largest angle either way.
        shift: Largest way along each side, as a share of it.
        scale: Least and largest factor on the size.
        background: 0 (black) to 255 (white).
    """

    degrees: float = 15
    shift: float = 0.1
    scale: tuple[float, float] = (0.75, 1.3)
    background: int = 255
    num_draws = 4

    def apply(self, pixels: Tensor, numbers: Sequence[float]) -> Tensor:
        angle, across, down = (2 * number - 1 for number in numbers[:3])
        least, most = self.scale
        # Zero comes into view, so what moves is the difference from the background: no seams at its edge.
        moved = pixel_ops.affine(
            self.background - pixels.float(),
            angle=angle * self.degrees,
            translate=[across * self.shift * pixels.shape[2], down * self.shift * pixels.shape[1]],
            scale=least * (most / least) ** numbers[3],
            shear=[0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        return (self.background - moved).round().to(torch.uint8)


@dataclass(frozen=True)
class Outline(Augment):
    """With probability `prob` draws black lines where colours meet, as an inked drawing has them.

    Args:
        prob: Share of the pictures.
        width: Of a line, in pixels.
        contrast: Difference of two colours, of 255, from which a line is faint, and from which it is black.
    """

    prob: float = 0.5
    width: int = 3
    contrast: tuple[float, float] = (20, 80)

    def apply(self, pixels: Tensor, numbers: Sequence[float]) -> Tensor:
        if numbers[0] >= self.prob:
            return pixels
        x, before, (faint, black) = pixels.short(), self.width // 2, self.contrast
        after = self.width - before
        edges = x.new_zeros(x.shape[1:])
        edges[:, before:-after] = (x[:, :, self.width :] - x[:, :, : -self.width]).abs().amax(0)
        down = (x[:, self.width :] - x[:, : -self.width]).abs().amax(0)
        edges[before:-after] = edges[before:-after].maximum(down)
        return (x * (1 - ((edges - faint) / (black - faint)).clamp(0, 1))).to(torch.uint8)
