"""A sharded checkpoint folder as one Lightning file, from which a run can be resumed as well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vl.checkpoints.safe import load_sharded, local_path


def consolidate(folder: str | Path, target: str | Path) -> Path:
    """Write the sharded checkpoint `folder` to the file `target`.

    Raises:
        ValueError: the folder is no sharded checkpoint of a training run.
    """
    checkpoint = load_sharded(local_path(folder))
    if "state_dict" not in checkpoint or "global_step" not in checkpoint:
        raise ValueError(f"{folder} is no checkpoint of a training run: it lacks state_dict or global_step")
    names = sorted((name for name in checkpoint if name.startswith("optimizer_") and name[10:].isdigit()), key=_number)
    checkpoint["optimizer_states"] = [_by_index(checkpoint.pop(name)) for name in names]
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    torch.save(checkpoint, partial)
    partial.replace(target)
    return target


def _number(name: str) -> int:
    return int(name.removeprefix("optimizer_"))


def _by_index(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """A sharded optimiser names its parameters; one process numbers them, group after group."""
    names = [name for group in optimizer["param_groups"] for name in group["params"]]
    index = {name: i for i, name in enumerate(names)}
    return {
        "state": {index[name]: value for name, value in optimizer.get("state", {}).items()},
        "param_groups": [
            group | {"params": [index[name] for name in group["params"]]} for group in optimizer["param_groups"]
        ],
    }
