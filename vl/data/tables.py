"""Memory-mapped tables: numpy arrays with some metadata in one safetensors file.

Workers that map the same file share its memory, and opening it costs the same for any number of rows.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from safetensors.numpy import save

_TYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "I32": np.int32, "I64": np.int64}


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int]
    data_offsets: tuple[int, int]


class _Header(msgspec.Struct):
    arrays: dict[str, _Entry]
    metadata: dict[str, str]
    start: int


def write_tables(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, object]) -> None:
    """Write one-dimensional arrays, whole or not at all; `metadata` is stored as JSON."""
    packed = msgspec.json.encode(metadata, order="sorted").decode()
    data = save(dict(arrays), {"json": packed, "crc": str(_checksum(arrays))})
    file, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=Path(path).parent)
    try:
        with open(file, "wb") as out:
            out.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def keep_tables(places: Sequence[Path], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, object]) -> None:
    """Write tables to the first place that can be written; a warning if there is none."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return write_tables(place, arrays, metadata)
        except OSError as error:
            reason = error
    warnings.warn(f"{places[-1]} cannot be written ({reason}): every process makes these tables anew", stacklevel=3)


def read_metadata(path: str | Path) -> dict:
    """The metadata alone; touches no array.

    Raises:
        OSError, ValueError: there is no such file, or it is damaged.
    """
    with open(path, "rb") as file:
        return msgspec.json.decode(_header(file.fileno(), path).metadata["json"])


def read_tables(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays, mapped read-only.

    Raises:
        OSError, ValueError: there is no such file, or it is damaged.
    """
    with open(path, "rb") as file:
        header = _header(file.fileno(), path)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {
        name: np.frombuffer(data, _TYPES[entry.dtype], entry.shape[0], header.start + entry.data_offsets[0])
        for name, entry in header.arrays.items()
    }
    if str(_checksum(arrays)) != header.metadata["crc"]:
        raise ValueError(f"{path} is damaged: its checksum differs")
    return arrays


def _header(file: int, path: str | Path) -> _Header:
    length = int.from_bytes(os.pread(file, 8, 0), "little")
    total = os.fstat(file).st_size
    try:
        if length + 8 > total:
            raise ValueError("cut short")
        raw = msgspec.json.decode(os.pread(file, length, 8), type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(raw.pop("__metadata__"), type=dict[str, str])
        arrays = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in raw.items()}
        if 8 + length + max(entry.data_offsets[1] for entry in arrays.values()) != total:
            raise ValueError("another length")
        return _Header(arrays, metadata, 8 + length)
    except (ValueError, KeyError, msgspec.MsgspecError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    total = 0
    for _, array in sorted(arrays.items()):
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return total
