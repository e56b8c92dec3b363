"""The text tower of any open_clip model config: CLIP's causal transformer on packed rows, or what the config names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIPTextCfg, _build_text_tower
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Text
from vl.models.open_clip_config import read_config
from vl.models.packing import Packing
from vl.models.towers import TextTower
from vl.models.transformer import Transformer


class OpenClipText(TextTower):
    """An open_clip text tower, projection included, without its weights.

    In a causal tower that pools one token (all of OpenAI's and LAION's), what stands behind that token changes nothing,
    so only the tokens up to it are computed, packed. A Hugging Face tower sees the batch up to its longest text. Every
    other one (SigLIP's attend to the padding) sees texts padded to its context, as it was trained.

    Args:
        config: an open_clip model name such as ViT-B-32, a JSON file, or the configuration itself.
        context_length: in tokens; None for the configuration's.
        frozen: train none of it.
    """

    def __init__(self, config: str | dict[str, Any], context_length: int | None = None, frozen: bool = False) -> None:
        super().__init__()
        config = read_config(config)
        self.embed_dim = config["embed_dim"]
        settings = config["text_cfg"]
        settings |= {"hf_model_pretrained": False} if "hf_model_name" in settings else {}
        settings |= {"context_length": context_length} if context_length else {}
        self.settings, self.quick_gelu = settings, config.get("quick_gelu", False)
        self.tower = _build_text_tower(self.embed_dim, CLIPTextCfg(**settings), self.quick_gelu)
        self.vocab_size, self.context_length = self.tower.vocab_size, self.tower.context_length
        self.is_hugging_face = isinstance(self.tower, HFTextEncoder)
        self.custom_text = config.get("custom_text", False) or self.is_hugging_face
        self.packs = not self.is_hugging_face and self._can_pack()
        if self.packs:
            self.tower.transformer = Transformer(self.tower.transformer, causal=True)
        self.inputs = ("tower.token_embedding", "tower.positional_embedding", "tower.transformer.embeddings")
        if frozen:
            self.freeze()

    def _can_pack(self) -> bool:
        tower = self.tower
        causal = tower.attn_mask is not None and tower.cls_emb is None
        return causal and tower.pool_type in ("argmax", "eos") and Transformer.can_adopt(tower.transformer)

    def blocks(self) -> Sequence[nn.Module]:
        transformer = self.tower.transformer
        return list(transformer.encoder.layer if self.is_hugging_face else transformer.resblocks)

    def forward(self, text: Text) -> Float[Tensor, "b e"]:
        if self.packs:
            return self._packed(text.ids, self.pooled_token(text))
        ids = text.ids
        if self.is_hugging_face:
            ids = ids.masked_fill(~text.mask, self.tower.config.pad_token_id)
        else:
            ids = F.pad(ids, (0, self.context_length - ids.shape[1]), value=self.tower.pad_id)
        features = self.tower(ids)
        return features[0] if isinstance(features, tuple) else features

    def pooled_token(self, text: Text) -> Int[Tensor, " b"]:
        """The position of the token that is pooled: the one of the highest id, or the first end token."""
        return (text.ids if self.tower.pool_type == "argmax" else (text.ids == self.tower.eos_id).int()).argmax(1)

    def _packed(self, ids: Int[Tensor, "b l"], end: Int[Tensor, " b"]) -> Float[Tensor, "b e"]:
        tower = self.tower
        length = int(end.max()) + 1
        packing = Packing.of(torch.arange(length, device=ids.device) <= end[:, None])
        x = tower.token_embedding(packing.pack(ids[:, :length]))
        x = x + packing.pack(tower.positional_embedding[:length].expand(len(ids), -1, -1))
        x = tower.ln_final(tower.transformer.run(x, packing, packing.rows_at(end)))
        projection = tower.text_projection
        return x if projection is None else projection(x) if isinstance(projection, nn.Module) else x @ projection
