"""A few fixed random views of each picture, each made once: what frozen towers that remember are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch
from jaxtyping import UInt8
from torch import Tensor

from vl.data.stages import ImageStage
from vl.draw import Draw


class FewViews(ImageStage):
    """An image stage that shows a picture in `num_views` ways, instead of in a new one every epoch.

    A view is a function of the picture's bytes and the view's number alone, and which one an example gets is drawn
    anew every epoch. So `vl.models.cached.CachedImage` computes each of them once in a whole run.

    Args:
        stage: Makes a view, with its random crop and augmentation.
        num_views: Ways a picture is shown.
        max_bytes: Of pixels to keep in each worker; views made after that are made every time.

    Raises:
        ValueError: `num_views` is below 1.
    """

    def __init__(self, stage: ImageStage, num_views: int = 8, max_bytes: int = 2**30) -> None:
        if num_views < 1:
            raise ValueError(f"num_views={num_views}: a picture is shown in at least 1 way")
        self.stage, self.size, self.num_views, self.max_bytes = stage, stage.size, num_views, max_bytes
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __repr__(self) -> str:
        return f"FewViews({self.stage!r}, num_views={self.num_views})"

    def without_chance(self) -> ImageStage:
        return self.stage.without_chance()

    def numbers(self, draw: Draw) -> list[list[float]]:
        """The number of the view that each example gets."""
        return (draw.fold("view").uniform(1) * self.num_views).floor().tolist()

    def apply(self, data: bytes, numbers: Sequence[float]) -> UInt8[Tensor, "3 size size"]:
        if not numbers:
            raise ValueError("which view is shown is random: give this image stage a draw")
        picture = int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)
        place = picture, int(numbers[0])
        if place in self._kept:
            return self._kept[place]
        draw = Draw.of(0, place[1], 0, torch.tensor([picture]))
        pixels = self.stage.apply(data, self.stage.numbers(draw)[0])
        if (len(self._kept) + 1) * pixels.nbytes <= self.max_bytes:
            self._kept[place] = pixels
        return pixels
