"""Pixels as regions: the cells of a backbone's last feature map, so that a picture needs no detector."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor

from vl.batch import Visual
from vl.models.embed import TextEmbedder, VisualEmbedder
from vl.models.packing import Packing
from vl.models.timm_image import TimmImage
from vl.models.towers import normalize_pixels


def grid_boxes(rows: int, columns: int, device: torch.device | None = None) -> Float[Tensor, "l 4"]:
    """The boxes of a grid's cells, row by row, xyxy in 0..1."""
    y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return torch.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], dim=1)


class TimmGrid(VisualEmbedder):
    """The patches or cells of a timm backbone, embedded as a system embeds its regions.

    Args:
        image: the backbone; its pooling is not used.
        regions: embeds the cells; its `feature_width` must be the backbone's number of features.

    Raises:
        ValueError: it is not.
    """

    def __init__(self, image: TimmImage, regions: VisualEmbedder) -> None:
        super().__init__()
        given, wanted = image.backbone.num_features, regions.projection.in_features
        if given != wanted:
            raise ValueError(f"{image.name} gives {given} features, but feature_width of the regions is {wanted}")
        self.image, self.regions = image, regions
        self.width, self.num_extra, self.image_size = regions.width, regions.num_extra, image.image_size

    @property
    def projection(self) -> torch.nn.Linear:  # type: ignore[override]
        return self.regions.projection

    def forward(self, visual: Visual, text: TextEmbedder) -> tuple[Float[Tensor, "n d"], Packing]:
        """The cells of all pictures, packed.

        Raises:
            ValueError: the batch has no pixels.
        """
        if visual.pixels is None:
            raise ValueError("the model reads pixels, but the data hold none; add an image stage")
        features = self.cells(visual.pixels)
        side = isqrt(features.shape[1])
        boxes = grid_boxes(side, side, features.device).expand(len(features), -1, 4)
        return self.regions(replace(visual, features=features, boxes=boxes, mask=None), text)

    def cells(self, pixels: Tensor) -> Float[Tensor, "bv lv f"]:
        """The last feature map of square pictures, row by row."""
        backbone = self.image.backbone
        # Convolutions are faster on a CPU with the channels last, and the cells then lie as they are returned.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        x = backbone.forward_features(normalize_pixels(pixels, self.image.mean, self.image.std))
        if x.ndim == 3:  # a vision transformer: its class token and registers come first
            return x[:, getattr(backbone, "num_prefix_tokens", 0) :]
        return x.flatten(2).transpose(1, 2) if x.shape[1] == backbone.num_features else x.flatten(1, 2)
