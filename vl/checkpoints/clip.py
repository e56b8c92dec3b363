"""Weights of open_clip and of OpenAI's CLIP: their names, and the configuration that OpenAI's do not carry.

The layouts follow from the code of open_clip 3.3.0; OpenAI's file is a TorchScript archive of the same names. Neither
has been opened here with real weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

State = dict[str, Tensor]
Config = dict[str, Any]

#: Entries of TorchScript archives and old checkpoints that are no weights.
_NO_WEIGHTS = {"attn_mask", "input_resolution", "context_length", "vocab_size", "text.attn_mask"}
_NO_WEIGHTS |= {"text.transformer.embeddings.position_ids"}
_SCALARS = ("logit_scale", "logit_bias")
_TEXT_PARTS = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")


def from_open_clip(state: Mapping[str, Tensor]) -> State:
    """Our names for a state dict of open_clip or OpenAI: with the text tower under `text.` or beside `visual.`."""
    ours: State = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name in _SCALARS:
            ours[name] = value.reshape(1)
        elif name.startswith("visual."):
            ours["image.tower." + name.removeprefix("visual.")] = value
        elif name not in _NO_WEIGHTS:
            part = name.removeprefix("text.")
            ours["text.tower." + part if part != name or part.startswith(_TEXT_PARTS) else name] = value
    return ours


def to_open_clip(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> State:
    """open_clip's names for ours, by what replaces the start of a name.

    Raises:
        ValueError: a weight has no place there, such as an MLP head's.
    """
    theirs: State = {}
    for name, value in state.items():
        ours = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if name in _SCALARS:
            theirs[name] = value.reshape(())
        elif ours is not None:
            theirs[prefixes[ours] + name.removeprefix(ours)] = value
        else:
            raise ValueError(f"open_clip has no place for {name}; it knows no heads but linear ones")
    return theirs


def infer_config(state: Mapping[str, Tensor]) -> Config:
    """The open_clip configuration of OpenAI's weights, from their shapes: heads are 64 wide, activations QuickGELU."""
    if "visual.proj" in state:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        side = isqrt(len(state["visual.positional_embedding"]) - 1)
        layers: Any = _count(state, r"visual\.transformer\.resblocks\.(\d+)\.")
        vision = {"layers": layers, "width": width, "patch_size": patch, "image_size": side * patch}
    elif "visual.attnpool.positional_embedding" in state:
        side = isqrt(len(state["visual.attnpool.positional_embedding"]) - 1)
        layers = [_count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)]
        width = state["visual.layer1.0.conv1.weight"].shape[0]
        vision = {"layers": layers, "width": width, "patch_size": None, "image_size": side * 32}
    else:
        raise ValueError("the weights are not of OpenAI's CLIP (no visual.proj, no visual.attnpool): name their config")
    vocabulary, width = state["token_embedding.weight"].shape
    text = {
        "context_length": len(state["positional_embedding"]),
        "vocab_size": vocabulary,
        "width": width,
        "heads": width // 64,
        "layers": _count(state, r"transformer\.resblocks\.(\d+)\."),
    }
    embed_dim = state["text_projection"].shape[1]
    return {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})
