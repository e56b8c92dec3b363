"""Boxes to feature vectors: RoIAlign (arXiv:1703.06870, section 3) on every stage of a timm backbone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import roi_align

from vl.models.timm_image import TimmImage
from vl.models.towers import normalize_pixels


class RegionBackbone(nn.Module):
    """The mean of every stage's feature map over a box, side by side: colour from early stages, objects from late ones.

    Each stage's part is brought to mean 0 and variance 1, so that none drowns the others.

    Args:
        image: the backbone with its weights, which must have timm's `forward_intermediates`. Pictures are scaled to its
            image size. Its BatchNorm layers are folded into the convolutions before them.
    """

    def __init__(self, image: TimmImage) -> None:
        super().__init__()
        self.image = image.eval().requires_grad_(False)
        _fold(image.backbone)
        stages: Sequence[dict] = image.backbone.feature_info
        self.widths = tuple(stage["num_chs"] for stage in stages)
        self.width = sum(self.widths)

    def forward(
        self, pixels: Sequence[UInt8[Tensor, "3 h w"]], boxes: Sequence[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ f"]]:
        """The features of each picture's boxes (xyxy in 0..1)."""
        maps = self.maps(pixels)
        parts = [self._pool(features, boxes) for features in maps]
        joined = torch.cat([F.layer_norm(part, part.shape[1:]) for part in parts], dim=1)
        return list(joined.split([len(some) for some in boxes]))

    def maps(self, pixels: Sequence[UInt8[Tensor, "3 h w"]]) -> list[Tensor]:
        """The feature maps of all stages, (b, c, h, w) each."""
        size = (self.image.image_size,) * 2
        scaled = [one if one.shape[1:] == size else _resize(one, size) for one in pixels]
        x = normalize_pixels(torch.stack(scaled), self.image.mean, self.image.std)
        # Convolutions run up to twice as fast on a CPU with the channels last.
        x = x.contiguous(memory_format=torch.channels_last)
        return self.image.backbone.forward_intermediates(x, intermediates_only=True)

    def _pool(self, features: Tensor, boxes: Sequence[Tensor]) -> Float[Tensor, "m c"]:
        height, width = features.shape[2:]
        scale = torch.tensor([width, height, width, height])
        cells = roi_align(features.contiguous(), [some * scale for some in boxes], 2, sampling_ratio=2, aligned=True)
        return cells.mean(dim=(2, 3))


def _fold(backbone: nn.Module) -> None:
    """BatchNorm that follows a convolution becomes part of it: the same numbers in two thirds of the time."""
    for block in list(backbone.modules()):
        layers = list(block.named_children())
        for (name, convolution), (after, norm) in pairwise(layers):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(block, name, fuse_conv_bn_eval(convolution, norm))
                setattr(block, after, getattr(norm, "act", nn.Identity()))


def _resize(pixels: UInt8[Tensor, "3 h w"], size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    return F.interpolate(pixels[None], size, mode="bicubic", antialias=True)[0]
