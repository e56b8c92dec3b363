"""All stages of a timm backbone, pooled and side by side, as an image tower."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from vl.models.timm_image import TimmImage
from vl.models.towers import Colour, normalize_pixels


class TimmPyramid(TimmImage):
    """The mean over space of every stage of a frozen or trained backbone, and its pooled final features.

    Early stages tell colours and strokes, late ones objects: a linear map on all of them learns more from few pictures
    than one on the last. Each stage is brought to mean 0 and variance 1, so that none drowns the others.

    Args:
        backbone: a timm model name; the model must have `forward_intermediates`.
        image_size, mean, std, options, frozen: as in `TimmImage`.
    """

    def __init__(
        self,
        backbone: str,
        image_size: int | None = None,
        mean: Colour | None = None,
        std: Colour | None = None,
        options: dict[str, Any] | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__(backbone, image_size, None, mean, std, options, frozen)
        self.widths = (*(stage["num_chs"] for stage in self.backbone.feature_info), self.embed_dim)
        self.embed_dim = sum(self.widths)

    def _features(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        final, stages = self.backbone.forward_intermediates(normalize_pixels(pixels, self.mean, self.std))
        parts = [*(stage.mean((2, 3)) for stage in stages), self.backbone.forward_head(final, pre_logits=True)]
        return torch.cat([F.layer_norm(part.float(), part.shape[1:]) for part in parts], dim=1)
