"""The one place that reads checkpoint files. Nothing in a file is ever executed.

safetensors files, `torch.save` files (weights only), TorchScript archives (their tensors only) and the sharded folders
of torch.distributed.checkpoint, whose index is a pickle: it is read by an unpickler that knows a dozen plain classes.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata

from vl.checkpoints.torchscript import is_torchscript, read_torchscript

MAX_INDEX_BYTES = 2**28
_DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
_INDEX_CLASSES = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata",
        "MetadataIndex",
        "TensorStorageMetadata",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "TensorProperties",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", *_DTYPES},
    "pathlib": {"PosixPath", "PurePosixPath"},
}


def load_tensors(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds: a state dict, or a dictionary with one in it. `path` may be a file, a sharded folder of
    Lightning, or a URL, which is downloaded first. Tensors of a `torch.save` file stay on disk until they are used.

    Raises:
        ValueError: there is none, it is cut short or no checkpoint, or it holds more than tensors and plain values.
    """
    path = local_path(path)
    if path.is_dir():
        return load_sharded(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if is_torchscript(path):
            return read_torchscript(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, error)) from error
    except (SafetensorError, RuntimeError, EOFError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no checkpoint, or cut short: {_first_line(error)}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a state dict")
    return found


def read_dcp_metadata(folder: str | Path) -> metadata.Metadata:
    """The index of a sharded folder.

    Raises:
        ValueError: it is missing, cut short, or names a class that no index needs.
    """
    path = Path(folder) / ".metadata"
    if not path.is_file():
        raise ValueError(f"{folder} is no sharded checkpoint: it has no .metadata (a save that was cut short?)")
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise ValueError(f"{path} holds more than {MAX_INDEX_BYTES:,} bytes")
    try:
        index = _IndexUnpickler(io.BytesIO(path.read_bytes())).load()
        assert isinstance(index, metadata.Metadata)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, error)) from error
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{path} is no index of a sharded checkpoint, or cut short: {_first_line(error)}") from error
    return index


def load_sharded(folder: Path) -> dict[str, Any]:
    """A sharded folder as one nested dictionary, together with Lightning's `meta.pt` if there is one."""
    index = read_dcp_metadata(folder)
    flat: dict[str, Any] = {}
    for place, info in (index.storage_data or {}).items():
        entry = _entry(index, folder, place.fqn)
        value = _read_slice(folder, info)
        if isinstance(entry, metadata.TensorStorageMetadata):
            if place.fqn not in flat:
                flat[place.fqn] = _empty(folder, place.fqn, entry)
            region = tuple(slice(start, start + n) for start, n in zip(place.offset or (), value.shape, strict=True))
            flat[place.fqn][region] = value
        else:
            flat[place.fqn] = value
    nested: dict[str, Any] = load_tensors(folder / "meta.pt") if (folder / "meta.pt").is_file() else {}
    for name, value in flat.items():
        _put(nested, (index.planner_data or {}).get(name, (name,)), value)
    return nested


def _entry(index: Any, folder: Path, name: str) -> Any:
    if name not in index.state_dict_metadata:
        raise ValueError(f"{folder / '.metadata'} says where {name} lies, but not what it is: cut short, or altered")
    return index.state_dict_metadata[name]


def check_sharded(folder: str | Path) -> None:
    """Read everything in a sharded folder that is not a tensor, so that an unsafe reader may have it afterwards.

    Raises:
        ValueError: something in it is a pickle payload.
    """
    folder = Path(folder)
    index = read_dcp_metadata(folder)
    for place, info in (index.storage_data or {}).items():
        if isinstance(_entry(index, folder, place.fqn), metadata.BytesStorageMetadata):
            _read_slice(folder, info)
    if (folder / "meta.pt").is_file():
        load_tensors(folder / "meta.pt")


def local_path(name: str | Path) -> Path:
    """The path itself, or where a URL was downloaded to (once; VL_CACHE or ~/.cache/vl).

    Raises:
        ValueError: there is nothing at the path or URL.
    """
    if "://" not in str(name):
        if not Path(name).exists():
            raise ValueError(f"there is no checkpoint at {name}")
        return Path(name)
    url = str(name)
    cache = Path(os.environ.get("VL_CACHE", Path.home() / ".cache/vl")) / "checkpoints"
    target = cache / hashlib.sha256(url.encode()).hexdigest()[:16] / Path(url.split("?")[0]).name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            with fsspec.open(url, "rb") as source, partial.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        except (OSError, ValueError, ImportError) as error:
            partial.unlink(missing_ok=True)
            raise ValueError(f"cannot download {url}: {_first_line(error)}") from error
        partial.replace(target)
    return target


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _INDEX_CLASSES.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")


def _read_slice(folder: Path, info: filesystem._StorageInfo) -> Any:
    """One stored value: an own `torch.save` file at an offset of one of the folder's files."""
    path = folder / info.relative_path
    if path.parent != folder or info.transform_descriptors:
        raise ValueError(f"{folder}: its index names {info.relative_path!r}, which is outside the folder or compressed")
    try:
        with path.open("rb") as file:
            file.seek(info.offset)
            return torch.load(io.BytesIO(file.read(info.length)), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, error)) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is cut short or unreadable: {_first_line(error)}") from error


def _empty(folder: Path, name: str, entry: metadata.TensorStorageMetadata) -> Tensor:
    """Room for a tensor, which cannot be larger than the files it comes from."""
    stored = sum(file.stat().st_size for file in folder.glob("*.distcp"))
    if entry.size.numel() * entry.properties.dtype.itemsize > stored:
        raise ValueError(f"{folder}: its index gives {name} the shape {tuple(entry.size)}, more than all files hold")
    return torch.empty(entry.size, dtype=entry.properties.dtype)


def _put(nested: Any, keys: tuple[str | int, ...], value: Any) -> None:
    """Set `nested[k0][k1]...`, making dictionaries, and lists where a key is a number."""
    for key, following in zip(keys, (*keys[1:], None), strict=True):
        inner: Any = value if following is None else [] if isinstance(following, int) else {}
        if isinstance(nested, list):
            nested.extend([None] * (int(key) + 1 - len(nested)))
            if following is None or nested[int(key)] is None:
                nested[int(key)] = inner
        elif following is None or key not in nested:
            nested[key] = inner
        nested = nested[key]


def _refusal(path: Path, error: Exception) -> str:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None:
        return f"{path} is no checkpoint, or cut short"
    return (
        f"{path} is refused: loading it would run {named[1].rstrip('.,')}. Only tensors and plain values are read; "
        "where you trust the file, save its state dict as safetensors"
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
