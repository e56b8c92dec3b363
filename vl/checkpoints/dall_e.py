"""The discrete VAE of DALL-E: OpenAI's `encoder.pkl` and `decoder.pkl`, and Hugging Face's `FlavaImageCodebook`.

The layout of OpenAI's files follows from the released code; no real file has been opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vl.checkpoints.inert import read_pickled_module
from vl.checkpoints.names import State

_LEAVES = {"w": "weight", "b": "bias"}


def read_openai(encoder: str | Path, decoder: str | Path) -> State:
    """Our weights from OpenAI's two files, which are pickled modules; none of their code is run."""
    parts = {"encoder": encoder, "decoder": decoder}
    return {name: value for part, path in parts.items() for name, value in from_openai(read_pickled_module(path), part)}


def from_openai(state: Mapping[str, Tensor], part: str) -> list[tuple[str, Tensor]]:
    """Our names for one of the two modules; `part` is encoder or decoder."""
    named = ((name.rpartition("."), value) for name, value in state.items())
    return [(f"{part}.{stem}.{_LEAVES.get(leaf, leaf)}", value) for (stem, _, leaf), value in named]


def to_openai(state: Mapping[str, Tensor], part: str) -> State:
    """OpenAI's names for the encoder or the decoder of ours."""
    short = {ours: theirs for theirs, ours in _LEAVES.items()}
    named = ((name.removeprefix(f"{part}."), value) for name, value in state.items() if name.startswith(f"{part}."))
    return {re.sub(r"(weight|bias)$", lambda leaf: short[leaf[0]], name): value for name, value in named}


def from_flava(state: Mapping[str, Tensor]) -> State:
    """Our names for Hugging Face's encoder; it has no decoder."""
    stripped = {name.removeprefix("image_codebook."): value for name, value in state.items()}
    return {
        "encoder." + name.replace(".group.", ".").replace(".res_path.path.", ".res_path."): value
        for name, value in stripped.items()
    }


def to_flava(state: Mapping[str, Tensor]) -> State:
    """Hugging Face's names for our encoder."""
    encoder = {name: value for name, value in state.items() if name.startswith("encoder.")}
    return {
        re.sub(r"(group_\d)", r"\1.group", name.removeprefix("encoder.")).replace(".res_path.", ".res_path.path."): v
        for name, v in encoder.items()
    }
