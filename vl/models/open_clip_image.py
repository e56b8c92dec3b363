"""The image tower of any open_clip model config: ViT, modified ResNet, or a timm backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from jaxtyping import Float, Shaped
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from vl.models.open_clip_config import read_config
from vl.models.timm_image import timm_blocks
from vl.models.towers import Colour, ImageTower, normalize_pixels
from vl.models.transformer import Transformer


class OpenClipImage(ImageTower):
    """An open_clip image tower, projection included, without its weights.

    Args:
        config: an open_clip model name such as ViT-B-32, a JSON file, or the configuration itself.
        image_size: in pixels, square; None for the configuration's. Position embeddings of start weights of another
            size are interpolated when they are loaded.
        mean, std: of the pixels the weights were trained on (SigLIP: 0.5 each).
        frozen: train none of it.
    """

    def __init__(
        self,
        config: str | dict[str, Any],
        image_size: int | None = None,
        mean: Colour = OPENAI_DATASET_MEAN,
        std: Colour = OPENAI_DATASET_STD,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        config = read_config(config)
        self.embed_dim, self.mean, self.std = config["embed_dim"], mean, std
        vision = config["vision_cfg"]
        vision |= {"timm_model_pretrained": False} if "timm_model_name" in vision else {}
        vision |= {"image_size": image_size} if image_size else {}
        self.image_size = vision.get("image_size", 224)
        unknown = set(vision) - {field.name for field in fields(CLIPVisionCfg)}
        if unknown:
            raise ValueError(f"open_clip's vision_cfg has no {sorted(unknown)}")
        if ":" in str(vision.get("timm_model_name")):
            raise ValueError(
                f"timm_model_name is {vision['timm_model_name']!r}; name a model of timm, not a repository"
            )
        self.settings, self.quick_gelu = vision, config.get("quick_gelu", False)
        self.tower = _build_vision_tower(self.embed_dim, CLIPVisionCfg(**vision), self.quick_gelu)
        if isinstance(self.tower, TimmModel) and image_size:
            self.tower.set_input_size(image_size)
        if isinstance(self.tower, VisionTransformer) and Transformer.can_adopt(self.tower.transformer):
            class_token = self.tower.attn_pool is None and self.tower.pool_type == "tok"
            self.tower.transformer = Transformer(self.tower.transformer, pool_first=class_token)
        if isinstance(self.tower, VisionTransformer | ModifiedResNet):
            pooling = "attnpool." if isinstance(self.tower, ModifiedResNet) else ""
            self.resize_on_load(f"tower.{pooling}positional_embedding", num_extra=1)
        self.inputs = ("tower.conv", "tower.bn", "tower.class_emb", "tower.positional", "tower.ln_pre")
        if frozen:
            self.freeze()

    def blocks(self) -> Sequence[nn.Module]:
        tower = self.tower
        if isinstance(tower, ModifiedResNet):
            return [*tower.layer1, *tower.layer2, *tower.layer3, *tower.layer4]
        return timm_blocks(tower.trunk) if isinstance(tower, TimmModel) else list(tower.transformer.resblocks)

    def forward(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        features = self.tower(normalize_pixels(pixels, self.mean, self.std))
        return features[0] if isinstance(features, tuple) else features  # CoCa's also returns its tokens
