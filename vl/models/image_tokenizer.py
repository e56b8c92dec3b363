"""What image tokenizers are to the rest of VL: pixels to a grid of codes, and back."""

from __future__ import annotations

import hashlib

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from vl.models.base import VLModel


class ImageTokenizer(VLModel):
    """A picture of `image_size` pixels as `codes_per_side`² codes, each below `num_codes`, row by row.

    Pixels come as uint8 or as floats in 0..1 and are returned as floats in 0..1.
    """

    num_codes: int
    stride: int = 8
    image_size: int

    @property
    def codes_per_side(self) -> int:
        return self.image_size // self.stride

    @property
    def fingerprint(self) -> str:
        """Names the weights: codes of one tokenizer mean nothing to another."""
        digest = hashlib.sha256(f"{type(self).__name__} {self.image_size}".encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()[:16]

    def encode(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
        """The likeliest (or nearest) code of every cell."""
        raise NotImplementedError

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        """The picture some codes stand for; their grid may have any square size."""
        raise NotImplementedError


def to_unit(pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """uint8 in 0..255 as floats in 0..1; floats unchanged."""
    return pixels if pixels.is_floating_point() else pixels.float() / 255


def halvings_of(stride: int, image_size: int) -> int:
    """How often a side is halved until a cell of `stride` pixels is one place.

    Raises:
        ValueError: the stride is no power of two above 1, or does not divide the picture.
    """
    if stride < 2 or stride & (stride - 1):
        raise ValueError(f"stride is {stride}; it is a power of two, 2 or more")
    if image_size % stride:
        raise ValueError(f"image_size is {image_size}, no multiple of the stride {stride}")
    return stride.bit_length() - 1


def to_grid(codes: Int[Tensor, "b n"]) -> Int[Tensor, "b s s"]:
    """Rows of codes as squares.

    Raises:
        ValueError: their number is no square.
    """
    side = round(codes.shape[1] ** 0.5)
    if side * side != codes.shape[1]:
        raise ValueError(f"{codes.shape[1]} codes fill no square; give 64, 256, 1024 or another square number")
    return codes.unflatten(1, (side, side))
