"""What a region extractor is: pictures in, and for each picture its regions, the most confident first."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vl.data.regions_member import Regions
from vl.data.sample import Object


@dataclass(frozen=True)
class Picture:
    """A whole picture, RGB, and what is known to be in it (only the ground-truth extractor looks at that)."""

    key: str
    pixels: UInt8[Tensor, "3 h w"]
    objects: tuple[Object, ...] = ()


class Extractor:
    """Finds the regions of pictures; it is sent to worker processes, so it can be pickled.

    Rows are sorted by confidence, the highest first; a picture may have none. In `class_probs` and `attribute_probs`
    the background comes first.
    """

    @property
    def settings(self) -> Mapping[str, object]:
        """What the card says of it: detector, sha256 of its weights, colour order, box convention, non-maximum
        suppression, class vocabulary, limits of the number of rows."""
        raise NotImplementedError

    def __call__(self, pictures: Sequence[Picture]) -> list[Regions]:
        """The regions of each picture."""
        raise NotImplementedError


def weights_of(about: Mapping[str, object] | None) -> Mapping[str, object]:
    """What a card says of a detector's weights; None stands for random ones, and is said loudly."""
    if about is None:
        warnings.warn("RANDOM WEIGHTS: this detector was never trained, its regions mean nothing", stacklevel=4)
        return {"weights": "NONE: random numbers"}
    return about


def by_confidence(regions: Regions) -> Regions:
    """The same regions, the most confident first (UNITER cuts its rows off at the end)."""
    return regions.rows(regions.confidence.argsort(descending=True, stable=True))


def background_first(probs: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Moves the last column to the front: detectron2 keeps the background there, all region models look for it here."""
    return torch.cat([probs[:, -1:], probs[:, :-1]], dim=1)
