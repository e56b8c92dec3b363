"""What every importer gives: the regions of one picture after another, under the id their file knows it by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from vl.data.regions_member import Regions
from vl.regions.extractor import by_confidence


class Imported(NamedTuple):
    """The regions of a picture; its height and width in pixels and its objects' names, where the file has them."""

    key: str
    regions: Regions
    size: tuple[int, int] | None = None
    tags: tuple[str, ...] = ()


#: Reads the pictures in a file or folder, and raises `Malformed`.
Importer = Callable[[Path], Iterator[Imported]]


class Malformed(ValueError):
    """Something in a file of features is not what its format says; names the file, and the line or entry."""

    def __init__(self, path: Path, place: object, reason: object) -> None:
        super().__init__(f"{path}, {place}: {reason}")


def decode(data: bytes, dtype: str, *shape: int) -> np.ndarray:
    """An array of little-endian numbers.

    Raises:
        ValueError: the bytes are more or fewer than the shape asks for; -1 stands for any number of columns.
    """
    array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    wanted = [side for side in shape if side >= 0]
    if len(wanted) == len(shape) and array.size != np.prod(shape, dtype=int):
        raise ValueError(f"{array.size} numbers of type {dtype} where the shape is {shape}")
    return array.reshape(shape)


def regions(
    features: np.ndarray,
    boxes: np.ndarray,
    class_probs: Float[Tensor, "n c"],
    confidence: np.ndarray,
    attribute_probs: Float[Tensor, "n a"] | None = None,
) -> Regions:
    """Regions sorted by confidence; `boxes` are xyxy in 0..1, and may leave it by a little."""
    tensors = [torch.from_numpy(np.array(values, np.float32)) for values in (features, boxes, confidence)]
    return by_confidence(Regions(tensors[0], tensors[1].clamp(0, 1), class_probs, tensors[2], attribute_probs))


def scaled(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes in pixels to 0..1.

    Raises:
        ValueError: the picture has no size, or a box lies far outside of it (boxes of another picture or convention).
    """
    if min(height, width) <= 0:
        raise ValueError(f"a picture of {width} x {height} pixels")
    boxes = boxes.astype(np.float32) / np.array([width, height, width, height], np.float32)
    if boxes.size and (boxes.max() > 1.1 or boxes.min() < -0.1):
        raise ValueError(f"boxes leave the picture of {width} x {height} pixels: are they xyxy in pixels of it?")
    return boxes


def peaked(labels: np.ndarray, confidence: np.ndarray, count: int) -> Float[Tensor, "n c"]:
    """Distributions of formats that store only the likeliest class: its confidence, the rest with the background.

    Args:
        labels: 0 for the first class after the background.
        confidence: of that class.
        count: of classes, without the background.
    """
    if labels.size and not (labels.min() >= 0 and labels.max() < count):
        raise ValueError(f"class {labels.max() if labels.max() >= count else labels.min()} is not in 0..{count - 1}")
    scores = torch.from_numpy(np.array(confidence, np.float32)).clamp(0, 1)[:, None]
    probs = one_hot(torch.from_numpy(np.array(labels, np.int64)) + 1, count + 1) * scores
    return probs + one_hot(torch.zeros(len(labels), dtype=torch.long), count + 1) * (1 - scores)


def unknown(count: int) -> Float[Tensor, "n 1"]:
    """Distributions where nothing is known of the classes: of the background alone."""
    return torch.ones(count, 1)
