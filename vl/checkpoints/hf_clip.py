"""Hugging Face's `CLIPModel`: names of weights and configuration, both directions.

The layout follows from the code of transformers 5.23.0; no real weights have been opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vl.checkpoints.clip import Config, State

#: Ours -> Hugging Face's `CLIPModel`, for what differs only in name.
_NAMES = {
    "image.tower.class_embedding": "vision_model.embeddings.class_embedding",
    "image.tower.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "image.tower.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "text.tower.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "text.tower.positional_embedding": "text_model.embeddings.position_embedding.weight",
    **{f"image.tower.ln_pre.{part}": f"vision_model.pre_layrnorm.{part}" for part in ("weight", "bias")},
    **{f"image.tower.ln_post.{part}": f"vision_model.post_layernorm.{part}" for part in ("weight", "bias")},
    **{f"text.tower.ln_final.{part}": f"text_model.final_layer_norm.{part}" for part in ("weight", "bias")},
}
_PROJECTIONS = {
    "image.tower.proj": "visual_projection.weight",
    "text.tower.text_projection": "text_projection.weight",
}
_BLOCK = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
_BLOCK |= {"attn.out_proj": "self_attn.out_proj"}
_TOWERS = {"image.tower.transformer.resblocks": "vision_model.encoder.layers"}
_TOWERS |= {"text.tower.transformer.resblocks": "text_model.encoder.layers"}


def to_hugging_face(state: Mapping[str, Tensor]) -> State:
    """`CLIPModel`'s names for ours: query, key and value apart, projections transposed.

    Raises:
        ValueError: a weight has no place there, such as a ResNet's.
    """
    theirs: State = {}
    for name, value in state.items():
        block = re.match(r"(.*\.resblocks)\.(\d+)\.(.+)[._](weight|bias)$", name)
        if name == "logit_scale":
            theirs[name] = value.reshape(())
        elif name in _NAMES:
            theirs[_NAMES[name]] = value
        elif name in _PROJECTIONS:
            theirs[_PROJECTIONS[name]] = value.T
        elif block and block[3] == "attn.in_proj":
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                theirs[f"{_TOWERS[block[1]]}.{block[2]}.self_attn.{letter}_proj.{block[4]}"] = part
        elif block and block[3] in _BLOCK:
            theirs[f"{_TOWERS[block[1]]}.{block[2]}.{_BLOCK[block[3]]}.{block[4]}"] = value
        else:
            raise ValueError(f"Hugging Face's CLIPModel has no place for {name}: it knows plain ViT CLIP only")
    return theirs


def from_hugging_face(state: Mapping[str, Tensor]) -> State:
    """Our names for a state dict of `CLIPModel`; names it does not know are kept, so that a strict load tells them."""
    names = {theirs: ours for ours, theirs in _NAMES.items()}
    projections = {theirs: ours for ours, theirs in _PROJECTIONS.items()}
    towers = {theirs: ours for ours, theirs in _TOWERS.items()}
    parts = {theirs: ours for ours, theirs in _BLOCK.items()}
    ours: State = {}
    for name, value in state.items():
        block = re.match(r"(.*\.layers)\.(\d+)\.(.+)\.(weight|bias)$", name)
        if name == "logit_scale":
            ours[name] = value.reshape(1)
        elif name in names:
            ours[names[name]] = value
        elif name in projections:
            ours[projections[name]] = value.T
        elif block and block[3] == "self_attn.q_proj":
            rows = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            ours[f"{towers[block[1]]}.{block[2]}.attn.in_proj_{block[4]}"] = torch.cat(rows)
        elif block and block[3] in parts:
            ours[f"{towers[block[1]]}.{block[2]}.{parts[block[3]]}.{block[4]}"] = value
        elif not name.endswith(("position_ids", "k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias")):
            ours[name] = value
    return ours


def hugging_face_config(config: Mapping[str, Any]) -> Config:
    """The `config.json` of a `CLIPModel`, from an open_clip configuration.

    Raises:
        ValueError: `CLIPModel` cannot be that: a ResNet or timm tower, SigLIP, another pooling.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain_vision = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"}
    plain_text = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "eos_id", "pool_type"}
    plain_vision.add("patch_dropout")  # nothing is dropped outside of training
    odd = sorted({*vision} - plain_vision | {*text} - plain_text)
    if odd or not isinstance(vision["layers"], int) or "init_logit_bias" in config:
        raise ValueError(
            f"Hugging Face's CLIPModel knows plain ViT CLIP only; this model has {', '.join(odd) or 'other parts'}. "
            "Export it for open_clip instead"
        )
    activation = {"hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu"}
    # With 2 the model pools the highest id, as OpenAI's does; with another one, the first such token.
    end = text.get("eos_id", 2) if text.get("pool_type", "argmax") == "eos" else 2
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config["embed_dim"],
        "vision_config": activation
        | _tower_config(vision, vision["width"] // vision.get("head_width", 64))
        | {"image_size": vision.get("image_size", 224), "patch_size": vision["patch_size"]},
        "text_config": activation
        | _tower_config(text, text["heads"])
        | {"vocab_size": text["vocab_size"], "max_position_embeddings": text["context_length"], "eos_token_id": end},
    }


def _tower_config(tower: Mapping[str, Any], heads: int) -> Config:
    width = tower["width"]
    return {
        "hidden_size": width,
        "intermediate_size": int(width * tower.get("mlp_ratio", 4.0)),
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": heads,
    }


def open_clip_config(config: Mapping[str, Any]) -> Config:
    """The open_clip configuration of a `CLIPModel`'s `config.json`; what it leaves out is Hugging Face's default."""
    from transformers import CLIPConfig

    whole: Any = CLIPConfig(**config)
    vision, text = whole.vision_config, whole.text_config
    pooling = {} if text.eos_token_id in (2, text.vocab_size - 1) else {"pool_type": "eos", "eos_id": text.eos_token_id}
    return {
        "embed_dim": whole.projection_dim,
        "quick_gelu": text.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            **_sizes(vision),
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "heads": text.num_attention_heads,
            **_sizes(text),
            **pooling,
        },
    }


def _sizes(tower: Any) -> Config:
    ratio = tower.intermediate_size / tower.hidden_size
    norm = {} if tower.layer_norm_eps == 1e-5 else {"norm_kwargs": {"eps": tower.layer_norm_eps}}
    return {"layers": tower.num_hidden_layers, "width": tower.hidden_size, "mlp_ratio": ratio, **norm}
