"""Released VQGANs: the checkpoints of taming-transformers, as image tokenizers.

The layout follows from the released code; no real file has been opened here.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vl.checkpoints.bundle import Bundle
from vl.checkpoints.inert import read_inert
from vl.checkpoints.names import State, rename
from vl.checkpoints.safe import load_tensors, local_path
from vl.checkpoints.state import find_weights, load_strict

_CODEBOOK = "quantize.embedding.weight"
#: What trains a VQGAN: its discriminator and its perceptual loss (LPIPS).
_TRAINING = "loss."


def read_vqgan(path: str | Path, image_size: int = 256) -> Bundle:
    """The image tokenizer in a checkpoint, with its image stage; its sizes follow from its weights.

    What only training needs is left out, with a warning that names it.

    Args:
        path: Lightning's `.ckpt` of the release, or its state dict. Released ones hold a class of Lightning beside
            their weights: it is left unloaded, and nothing is run.
        image_size: Pixels a side of the pictures that are encoded.

    Raises:
        ValueError: there is no such file, it is something else, or weights are missing or left over; names them.
    """
    found = load_tensors(path) if Path(path).suffix == ".safetensors" else read_inert(local_path(path))
    state = find_weights(found) if isinstance(found, dict) else {}
    if _CODEBOOK not in state:
        raise ValueError(
            f"{path} has no {_CODEBOOK}: it is no VQGAN, or one with a Gumbel quantizer, which VL has not; the "
            "released ones with 1,024 and 16,384 codes have it"
        )
    left_out = Counter(".".join(name.split(".")[:2]) for name in state if name.startswith(_TRAINING))
    if left_out:
        parts = ", ".join(f"{number} of {part}" for part, number in left_out.items())
        warnings.warn(f"{path}: left out what only training needs, tensors: {parts}", stacklevel=2)
    sizes = infer_sizes(state) | {"image_size": image_size}
    trees = {
        "model": {"class_path": "vl.models.vqgan.VQGAN", "init_args": sizes},
        "image": {"class_path": "vl.data.stages.ImageStage", "init_args": {"size": image_size}},
    }
    bundle = Bundle.build(trees)
    load_strict(bundle.model, from_taming(state), path)
    bundle.model.eval()
    return bundle


def from_taming(state: Mapping[str, Tensor]) -> State:
    """Our names; weights of the training loss are left out."""
    return rename(
        {name: value for name, value in state.items() if not name.startswith(_TRAINING)},
        {_CODEBOOK: "codebook.vectors"},
    )


def to_taming(state: Mapping[str, Tensor]) -> State:
    """The release's names for the weights of a `VQGAN`."""
    return rename(state, {"codebook.vectors": _CODEBOOK})


def infer_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor's arguments that the release's weights are for.

    Raises:
        ValueError: a weight that tells a size is missing; names it.
    """
    levels, blocks = _count(state, "encoder.down."), _count(state, "encoder.down.0.block.")
    try:
        num_codes, code_width = state[_CODEBOOK].shape
        latent_width, width = (state[f"encoder.conv_{end}.weight"].shape[0] for end in ("out", "in"))
        widths = [state[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)]
    except KeyError as error:
        raise ValueError(f"this is no VQGAN of taming-transformers: it lacks {error.args[0]}") from error
    return {
        "num_codes": num_codes,
        "code_width": code_width,
        "latent_width": latent_width,
        "width": width,
        "multipliers": [one // width for one in widths],
        "blocks": blocks,
        "attention": [level for level in range(levels) if f"encoder.down.{level}.attn.0.q.weight" in state],
    }


def _count(state: Mapping[str, Tensor], start: str) -> int:
    """The numbers that follow `start` in names."""
    return len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})
