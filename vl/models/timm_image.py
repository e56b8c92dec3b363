"""Any timm backbone as an image tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from vl.models.towers import Colour, ImageTower, normalize_pixels

#: Pictures that a frozen backbone takes at a time on a CPU.
_GROUP = 4
_INPUTS = ("conv_stem", "bn1", "stem", "patch_embed", "cls_token", "pos_embed")


def timm_blocks(backbone: nn.Module) -> Sequence[nn.Module]:
    """The blocks of a timm model, bottom-up: those of its stages where it has stages, none if it names neither."""
    stages = next((getattr(backbone, name) for name in ("blocks", "stages", "layers") if hasattr(backbone, name)), ())
    inner = [getattr(stage, "blocks", stage if isinstance(stage, nn.Sequential) else [stage]) for stage in stages]
    return [block for blocks in inner for block in blocks]


class TimmImage(ImageTower):
    """A timm backbone up to its pooled features, without its weights; a head of `TwoTower` projects them.

    Args:
        backbone: a timm model name such as tf_efficientnet_lite0.
        image_size: in pixels, square; None for the model's own. Vision transformers are built for exactly this size.
        pool: timm's global_pool; None for the model's own.
        mean, std: of the pixels the weights were trained on; None for those timm names.
        options: further arguments of `timm.create_model`, such as drop_path_rate.
        frozen: train none of it.
    """

    def __init__(
        self,
        backbone: str,
        image_size: int | None = None,
        pool: str | None = None,
        mean: Colour | None = None,
        std: Colour | None = None,
        options: dict[str, Any] | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        if not timm.is_model(backbone):
            near = timm.list_models(f"*{backbone.split('_')[0]}*")[:5]
            raise ValueError(f"timm has no model {backbone!r}; models with a similar name: {', '.join(near) or 'none'}")
        if "checkpoint_path" in (options or {}):
            raise ValueError("options has a checkpoint_path; name start weights in the run's `init` instead")
        self.name, self.pool = backbone, pool
        settings = ({} if pool is None else {"global_pool": pool}) | (options or {})
        model: Any = timm.create_model(backbone, pretrained=False, num_classes=0, **settings)
        if image_size and hasattr(model, "set_input_size"):
            model.set_input_size(image_size)
        data = timm.data.resolve_model_data_config(model)
        self.image_size = image_size or data["input_size"][-1]
        self.mean, self.std = mean or data["mean"], std or data["std"]
        self.backbone, self.embed_dim = model, getattr(model, "head_hidden_size", model.num_features)
        if isinstance(getattr(model, "pos_embed", None), nn.Parameter):
            self.resize_on_load("backbone.pos_embed", num_extra=model.num_prefix_tokens)
        self.inputs = tuple(f"backbone.{name}" for name in _INPUTS)
        if frozen:
            self.freeze()

    def blocks(self) -> Sequence[nn.Module]:
        return timm_blocks(self.backbone)

    def forward(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        if not self.frozen or pixels.device.type != "cpu":
            return self._features(pixels)
        # A frozen backbone has no batch statistics. In small groups its activations stay in the cache, and their memory
        # is reused; convolutions run up to twice as fast with the channels last.
        groups = pixels.contiguous(memory_format=torch.channels_last).split(_GROUP)
        return torch.cat([self._features(group) for group in groups])

    def _features(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        return self.backbone(normalize_pixels(pixels, self.mean, self.std))
