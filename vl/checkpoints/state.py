"""State dicts: strict loading, with a report that names what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Load all weights of `module` from `state`; position embeddings of another image size are interpolated.

    Raises:
        ValueError: weights are missing, left over or of another shape; names them and `source`.
    """
    try:
        result = module.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        shapes = "; ".join(line.strip() for line in str(error).splitlines()[1:9])
        raise ValueError(f"{source} does not fit {type(module).__name__}: {shapes}") from error
    complaints = [
        f"{what} {_some(names)}"
        for what, names in (("it lacks", result.missing_keys), ("nothing takes", result.unexpected_keys))
        if names
    ]
    if complaints:
        raise ValueError(f"{source} does not fit {type(module).__name__}: {'; '.join(complaints)}")


def require_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Compare names and shapes without loading anything.

    Raises:
        ValueError: they differ; names those that do.
    """
    complaints = {
        "it lacks": [name for name in own if name not in state],
        "nothing takes": [name for name in state if name not in own],
        "of another shape are": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
            for name, value in own.items()
            if name in state and state[name].shape != value.shape
        ],
    }
    if found := [f"{what} {_some(names)}" for what, names in complaints.items() if names]:
        raise ValueError(f"{source} does not fit this run's model: {'; '.join(found)}")


def find_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The model's weights in what a file held: a bare state dict, a trainer's dictionary around one, or ours."""
    state = checkpoint.get("state_dict", checkpoint)
    prefix = "model." if "vl" in checkpoint else "module."
    inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return inner or {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _some(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
