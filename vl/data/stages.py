"""Image stages: the bytes of a picture become uint8 pixels of a fixed size.

Decoders are an explicit list: simplejpeg for JPEG (scaled in the DCT domain while the crop stays large enough), Pillow
for PNG, WebP and the JPEGs simplejpeg does not read (CMYK). Every picture is turned upright by its EXIF orientation, as
any viewer shows it (open_clip's loaders ignore the tag). Transparency is pasted on a plain background. Nothing is
normalised here: a model does that itself, from uint8.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
import simplejpeg
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional as pixel_ops

from vl.draw import Draw

#: top, left, height, width in pixels.
Box = tuple[int, int, int, int]


class BadMember(ValueError):
    """A member of a sample that cannot be read; `key` names the sample where it is known."""

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(reason)
        self.key = key


class Crop:
    """Chooses the box of a picture that is resized; `num_draws` random numbers decide."""

    num_draws: int = 0

    def box(self, height: int, width: int, numbers: Sequence[float]) -> Box:
        raise NotImplementedError


@dataclass(frozen=True)
class CenterCrop(Crop):
    """The middle square: `fraction` of the shorter side (timm's crop_pct)."""

    fraction: float = 1.0

    def box(self, height: int, width: int, numbers: Sequence[float]) -> Box:
        side = max(1, round(min(height, width) * self.fraction))
        return (height - side) // 2, (width - side) // 2, side, side


@dataclass(frozen=True)
class Squash(Crop):
    """The whole picture, its sides scaled differently."""

    def box(self, height: int, width: int, numbers: Sequence[float]) -> Box:
        return 0, 0, height, width


@dataclass(frozen=True)
class RandomResizedCrop(Crop):
    """A random part of the picture ("Going deeper with convolutions", arXiv 1409.4842, section 6).

    Args:
        scale: Least and largest share of the area.
        ratio: Least and largest width / height.
    """

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    num_draws = 22

    def box(self, height: int, width: int, numbers: Sequence[float]) -> Box:
        (least, most), (low, high) = self.scale, map(math.log, self.ratio)
        for share, shape in zip(numbers[0:20:2], numbers[1:20:2], strict=True):
            area = height * width * (least + share * (most - least))
            ratio = math.exp(low + shape * (high - low))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                return int(numbers[20] * (height - h + 1)), int(numbers[21] * (width - w + 1)), h, w
        h = min(height, max(1, round(width / self.ratio[0])))
        w = min(width, max(1, round(height * self.ratio[1])))
        return (height - h) // 2, (width - w) // 2, h, w


class Augment:
    """Changes uint8 pixels; `num_draws` random numbers decide."""

    num_draws: int = 1

    def apply(self, pixels: Tensor, numbers: Sequence[float]) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class HorizontalFlip(Augment):
    """Mirrors with probability `prob`. Captions that name a side become wrong."""

    prob: float = 0.5

    def apply(self, pixels: Tensor, numbers: Sequence[float]) -> Tensor:
        return pixels.flip(-1) if numbers[0] < self.prob else pixels


@dataclass(frozen=True)
class Grayscale(Augment):
    """Takes the colour away with probability `prob`."""

    prob: float = 0.2

    def apply(self, pixels: Tensor, numbers: Sequence[float]) -> Tensor:
        return pixel_ops.rgb_to_grayscale(pixels, 3) if numbers[0] < self.prob else pixels


@dataclass(frozen=True)
class ColorJitter(Augment):
    """With probability `prob` changes brightness, contrast, saturation and hue, in this order.

    The first three are factors drawn from 1 - x to 1 + x, the hue is shifted by -hue to hue of a full turn.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    prob: float = 0.8
    num_draws = 5

    def apply(self, pixels: Tensor, numbers: Sequence[float]) -> Tensor:
        if numbers[0] >= self.prob:
            return pixels
        brightness, contrast, saturation, hue = (2 * number - 1 for number in numbers[1:])
        changes = (
            (pixel_ops.adjust_brightness, 1 + brightness * self.brightness, self.brightness),
            (pixel_ops.adjust_contrast, 1 + contrast * self.contrast, self.contrast),
            (pixel_ops.adjust_saturation, 1 + saturation * self.saturation, self.saturation),
            (pixel_ops.adjust_hue, hue * self.hue, self.hue),
        )
        for change, amount, most in changes:
            pixels = change(pixels, amount) if most else pixels
        return pixels


class ImageStage:
    """Bytes of a JPEG, PNG or WebP to uint8 pixels (3, size, size), RGB.

    Args:
        size: Side of the result in pixels.
        crop: The part of the picture that is resized.
        augment: What happens to the pixels afterwards, in this order.
        interpolation: `bicubic` or `bilinear`, both antialiased.
        oversample: A JPEG is decoded at 1/2, 1/4 or 1/8 while the crop keeps `oversample` times `size` pixels a side,
            and with the fast cosine transform; .inf decodes in full and exactly, as Pillow does.
        background: What transparency shows, 0 (black) to 255 (white).
        max_pixels: A larger picture is refused before it is decoded.
    """

    def __init__(
        self,
        size: int,
        crop: Crop | None = None,
        augment: list[Augment] | None = None,
        interpolation: Literal["bicubic", "bilinear"] = "bicubic",
        oversample: float = 1.0,
        background: int = 255,
        max_pixels: int = 2**26,
    ) -> None:
        self.size, self.crop, self.augment = size, crop or CenterCrop(), tuple(augment or ())
        self.interpolation, self.oversample = interpolation, oversample
        self.background, self.max_pixels = background, max_pixels

    def __repr__(self) -> str:
        return f"ImageStage({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def without_chance(self) -> ImageStage:
        """The stage for evaluation: the middle of the picture for a random crop, no augmentation, full decoding."""
        crop = self.crop if not self.crop.num_draws else CenterCrop()
        return ImageStage(**{**vars(self), "crop": crop, "augment": None, "oversample": math.inf})

    def __call__(self, data: bytes, draw: Draw | None = None) -> UInt8[Tensor, "3 size size"]:
        """The pixels of one picture; `draw` has one row and may be None for a stage without randomness.

        Raises:
            BadMember: the bytes are no readable JPEG, PNG or WebP, or hold more than `max_pixels`.
        """
        return self.apply(data, self.numbers(draw)[0] if draw is not None else ())

    def numbers(self, draw: Draw) -> list[list[float]]:
        """The random numbers of each row of `draw`, drawn for a whole batch at once because that is cheap."""
        count = self.crop.num_draws + sum(augment.num_draws for augment in self.augment)
        return draw.fold("image").uniform(count).tolist()

    def apply(self, data: bytes, numbers: Sequence[float]) -> UInt8[Tensor, "3 size size"]:
        """`__call__` with the row of `numbers` that belongs to the picture."""
        if not numbers and (self.augment or self.crop.num_draws):
            raise ValueError("this image stage is random: give it a draw, or use a stage without augmentation")
        cropped = self.decode(data, numbers)
        pixels = torch.from_numpy(cropped).permute(2, 0, 1)[None]  # channels-last: the fast path for uint8
        if pixels.shape[2:] != (self.size, self.size):
            pixels = interpolate(pixels, (self.size, self.size), mode=self.interpolation, antialias=True)
        pixels, first = pixels[0], self.crop.num_draws
        for augment in self.augment:
            pixels = augment.apply(pixels, numbers[first : first + augment.num_draws])
            first += augment.num_draws
        return pixels

    def decode(self, data: bytes, numbers: Sequence[float] = ()) -> UInt8[np.ndarray, "h w 3"]:
        """The crop of a picture before it is resized.

        Raises:
            BadMember: as in `__call__`.
        """
        try:
            return self._read(data, numbers)
        except BadMember:
            raise
        except UnidentifiedImageError as error:
            raise BadMember("not a readable picture: no JPEG, PNG or WebP") from error
        except (ValueError, OSError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
            raise BadMember(f"not a readable picture: {error}") from error

    def _read(self, data: bytes, numbers: Sequence[float]) -> UInt8[np.ndarray, "h w 3"]:
        """The crop of a picture, decoded no larger than needed."""
        if data[:2] != b"\xff\xd8":
            return self._read_pillow(data, numbers)
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours in ("CMYK", "YCCK"):
            return self._read_pillow(data, numbers)
        self._check_size(height, width)
        turn = _orientation(data)
        upright = (width, height) if turn > 4 else (height, width)
        box = self.crop.box(upright[0], upright[1], numbers)
        # The scale that keeps both sides of the box large enough, whichever way the picture lies.
        scale = min(1.0, self.oversample * self.size / min(box[2:]))
        fast = math.isfinite(self.oversample)  # full decoding is exact to the last bit as well
        least = {"min_height": math.ceil(height * scale), "min_width": math.ceil(width * scale)}
        pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=fast, fastupsample=fast, **least)
        pixels = _turn(pixels, turn)
        return _cut(pixels, box, pixels.shape[0] / upright[0], pixels.shape[1] / upright[1])

    def _read_pillow(self, data: bytes, numbers: Sequence[float]) -> UInt8[np.ndarray, "h w 3"]:
        with Image.open(BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as image:
            self._check_size(image.height, image.width)
            pixels = np.array(_on_background(ImageOps.exif_transpose(image), self.background))
        return _cut(pixels, self.crop.box(pixels.shape[0], pixels.shape[1], numbers))

    def _check_size(self, height: int, width: int) -> None:
        if height * width > self.max_pixels:
            raise BadMember(
                f"a picture of {width:,} x {height:,} pixels, more than max_pixels = {self.max_pixels:,} (ImageStage)"
            )


def _cut(pixels: np.ndarray, box: Box, down: float = 1.0, across: float = 1.0) -> np.ndarray:
    """The box (of the full picture) out of a picture that was decoded smaller by these factors."""
    top, left = round(box[0] * down), round(box[1] * across)
    bottom, right = round((box[0] + box[2]) * down), round((box[1] + box[3]) * across)
    # Contiguous, because torch copies a crop of three interleaved channels far more slowly than numpy.
    return np.ascontiguousarray(pixels[top : max(bottom, top + 1), left : max(right, left + 1)])


def _on_background(image: Image.Image, background: int) -> Image.Image:
    """RGB of any mode: 16 bits are scaled to 8, palettes resolved, transparency pasted on the background."""
    if image.mode.startswith(("I", "F")):
        wide = np.asarray(image, np.float32) / (257 if image.mode.startswith("I") else 1)
        return Image.fromarray(wide.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (background,) * 3), image).convert("RGB")
    return image.convert("RGB")


def _orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 (upright) to 8."""
    if b"Exif\0\0" not in data[:4096]:
        return 1
    with Image.open(BytesIO(data), formats=("JPEG",)) as image:
        turn: Any = image.getexif().get(0x0112, 1)
    return turn if turn in range(1, 9) else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror a stored picture (h, w, 3) as its EXIF orientation says."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    flip_down, flip_across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_down else 1, :: -1 if flip_across else 1]
