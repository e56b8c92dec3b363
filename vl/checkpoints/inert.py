"""The tensors of a pickled module, without its code: every class but torch's tensors becomes an empty shell.

OpenAI's `encoder.pkl` and `decoder.pkl` are whole modules of a package that need not be here. An unpickler that knows
no foreign class has nothing to run; the shells keep the attributes, among which the parameters are found.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vl.checkpoints.torchscript import is_torchscript

_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # type: ignore[attr-defined]
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,  # type: ignore[attr-defined]
    ("torch", "FloatStorage"): torch.FloatStorage,
    ("torch", "HalfStorage"): torch.HalfStorage,
    ("torch.nn.parameter", "Parameter"): torch.nn.Parameter,
}


class Shell:
    """What stands for an object of a class that is not loaded."""

    #: torch's older format asks every module's class for it.
    dump_patches = False

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass


class _ShellUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), Shell)


def _load(file: BinaryIO, **options: Any) -> Any:
    return _ShellUnpickler(file, **options).load()


def read_pickled_module(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a pickled module.

    Raises:
        ValueError: the file is no pickle of torch, or holds no module.
    """
    state: dict[str, Tensor] = {}
    _collect(read_inert(path), "", state)
    if not state:
        raise ValueError(f"{path} holds no module with parameters; save the state dict as safetensors instead")
    return state


def read_inert(path: str | Path) -> Any:
    """What a `torch.save` file holds: tensors and plain values, and a shell for everything else.

    Raises:
        ValueError: the file is no pickle of torch.
    """
    if is_torchscript(Path(path)):
        raise ValueError(f"{path} is a TorchScript archive, not a pickled module")
    reader = SimpleNamespace(Unpickler=_ShellUnpickler, load=_load, __name__="shells")
    try:
        return torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{path} is no pickled module or checkpoint, or cut short: {error}") from error


def _collect(module: Any, prefix: str, state: dict[str, Tensor]) -> None:
    parts = getattr(module, "__dict__", {})
    for kind in ("_parameters", "_buffers"):
        for name, value in (parts.get(kind) or {}).items():
            if isinstance(value, Tensor):
                state[prefix + name] = value.detach()
    for name, inner in (parts.get("_modules") or {}).items():
        _collect(inner, f"{prefix}{name}.", state)
