"""The tensors of a TorchScript archive, such as OpenAI's CLIP files, without running any of its code."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive of a scripted or traced module."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The state dict of a scripted or traced module: all tensors among its attributes, by their dotted names.

    Raises:
        UnpicklingError: the archive asks for something that no module's attributes need.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        with archive.open(name) as file:
            module = _Unpickler(file, archive, name.removesuffix("data.pkl")).load()
    state: dict[str, Tensor] = {}
    _collect(module, "", state)
    return state


class _Attributes(dict[str, Any]):
    """Stands for an object of any class the archive defines: its attributes, and none of its code."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Attributes
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("collections", "OrderedDict"): OrderedDict,
            **{("torch.jit._pickle", f"build_{kind}"): lambda data: data for kind in _LISTS},
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: tuple[str, torch.dtype, str, str, int]) -> Tensor:
        _, dtype, key, _, count = pid
        content = bytearray(self.archive.read(f"{self.root}data/{key}"))
        return torch.frombuffer(content, dtype=dtype)[:count] if content else torch.empty(0, dtype=dtype)


_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
_LISTS = ("intlist", "tensorlist", "doublelist", "boollist")


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return torch.as_strided(storage, size, stride, offset).clone()


def _collect(value: Any, prefix: str, state: dict[str, Tensor]) -> None:
    if isinstance(value, Tensor):
        state[prefix] = value
    elif isinstance(value, dict):
        for name, item in value.items():
            _collect(item, f"{prefix}.{name}" if prefix else str(name), state)
