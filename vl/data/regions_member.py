"""The member `regions.safetensors`: the regions of a picture as an extractor found them.

Sorted as the extractor wrote them (by confidence, for the published detectors). Stored as fp16, boxes as fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import safetensors.torch
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor

from vl.batch import Visual

REGIONS = "regions.safetensors"


@dataclass(frozen=True)
class Regions:
    """The n regions of one picture; n may be 0.

    `boxes` are xyxy in 0..1 of width and height. `class_probs` and `attribute_probs` are distributions with the
    background FIRST; `confidence` is how sure the extractor is that there is something.
    """

    features: Float[Tensor, "n f"]
    boxes: Float[Tensor, "n 4"]
    class_probs: Float[Tensor, "n c"]
    confidence: Float[Tensor, " n"]
    attribute_probs: Float[Tensor, "n a"] | None = None

    def __len__(self) -> int:
        """The number of regions."""
        return len(self.features)

    def rows(self, index: Int[Tensor, " m"] | slice) -> Regions:
        """Some of the regions."""
        return Regions(**{name: tensor[index] for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def write_regions(regions: Regions) -> bytes:
    """The member for some regions.

    Raises:
        ValueError: they are not what `read_regions` takes.
    """
    tensors = regions.tensors()
    _check(tensors)
    stored = {name: value if name == "boxes" else value.half() for name, value in tensors.items()}
    return safetensors.torch.save({name: value.contiguous() for name, value in stored.items()})


def read_regions(data: bytes) -> Regions:
    """The regions in a member, as fp32.

    Raises:
        ValueError: it is damaged, a tensor is missing, their rows differ, a number is not finite, or a box leaves 0..1.
    """
    try:
        tensors = {name: value.float() for name, value in safetensors.torch.load(data).items()}
    except SafetensorError as error:
        raise ValueError(f"{REGIONS} is damaged: {error}") from error
    known = {field.name for field in fields(Regions)}
    if missing := known - {"attribute_probs"} - tensors.keys():
        raise ValueError(f"{REGIONS} lacks {', '.join(sorted(missing))}")
    tensors = {name: value for name, value in tensors.items() if name in known}
    _check(tensors)
    return Regions(**tensors)


def _check(tensors: dict[str, Tensor]) -> None:
    boxes = tensors["boxes"]
    for name, value in tensors.items():
        if len(value) != len(boxes):
            raise ValueError(f"{REGIONS}: {name} has {len(value)} rows, boxes {len(boxes)}")
        if not value.sum().isfinite():  # no finite fp16 numbers have a sum that is not
            raise ValueError(f"{REGIONS}: {name} holds a number that is not finite")
    if boxes.shape[1:] != (4,) or not ((boxes >= 0) & (boxes <= 1)).all() or (boxes[:, :2] > boxes[:, 2:]).any():
        raise ValueError(f"{REGIONS}: boxes must be (n, 4), xyxy in 0..1 of width and height")


def pad(pictures: Sequence[Regions]) -> Visual:
    """The regions of several pictures as one value, zeros in the padding; attributes where all have them."""
    counts = torch.tensor([len(regions) for regions in pictures])
    mask = torch.arange(max(1, int(counts.max()))) < counts[:, None]
    names = set.intersection(*(set(regions.tensors()) for regions in pictures))
    return Visual(mask=mask, **{name: _pad([regions.tensors()[name] for regions in pictures], mask) for name in names})


def _pad(rows: list[Tensor], mask: Tensor) -> Tensor:
    joined = torch.cat(rows)
    return joined.new_zeros(*mask.shape, *joined.shape[1:]).masked_scatter(
        mask.view(*mask.shape, *[1] * (joined.ndim - 1)), joined
    )
