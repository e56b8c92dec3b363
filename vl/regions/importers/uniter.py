"""UNITER's features (ChenRocks/UNITER): npz files, one a picture, or an lmdb of them.

Arrays: norm_bb (n, 6) x1 y1 x2 y2 w h in 0..1, features (n, 2048), conf (n, 1), soft_labels (n, 1601) with the
background first; all fp16. Boxes are proposals. Rows are kept by confidence: those above 0.2, from 10 to 100.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vl.regions.importers.base import Imported, Malformed, regions

ARRAYS = ("norm_bb", "features", "conf", "soft_labels")
#: The part of an lmdb that lists its keys.
_KEYS = b"__keys__"


def read_npz(path: Path) -> Iterator[Imported]:
    """The npz files of a folder, by name; the id of a picture is its file's name."""
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no .npz files")
    for file in files:
        yield _picture(file, file.name, file.read_bytes())


def read_lmdb(path: Path) -> Iterator[Imported]:
    """The pictures of an lmdb: values are npz files, or msgpack with numpy's arrays (never unpickled)."""
    import lmdb

    if not path.exists():
        raise ValueError(f"{path}: there is no such lmdb")
    environment = lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir())
    with environment, environment.begin() as transaction:
        stored = transaction.get(_KEYS)
        keys = json.loads(stored) if stored else [key.decode() for key, _ in transaction.cursor()]
        for key in keys:
            if (value := transaction.get(key.encode())) is None:
                raise Malformed(path, f"key {key}", "listed in __keys__, but not there")
            yield _picture(path, key, value)


def _picture(path: Path, name: str, data: bytes) -> Imported:
    try:
        arrays = dict(np.load(io.BytesIO(data))) if data[:2] == b"PK" else _unpack(data)
        if missing := [array for array in ARRAYS if array not in arrays]:
            raise ValueError(f"no {', '.join(missing)}")
        boxes, features, confidence, labels = (np.asarray(arrays[array], np.float32) for array in ARRAYS)
        if boxes.shape[1:] != (6,) or any(len(array) != len(boxes) for array in (features, confidence, labels)):
            raise ValueError(f"shapes {boxes.shape}, {features.shape}, {confidence.shape}, {labels.shape}")
        found = regions(features, boxes[:, :4], torch.from_numpy(labels), confidence.reshape(-1))
    except (ValueError, KeyError, OSError) as error:
        raise Malformed(path, name, error) from error
    return Imported(name.removesuffix(".npz"), found)


def _unpack(data: bytes) -> dict[str, Any]:
    import msgpack

    try:
        return msgpack.unpackb(data, object_hook=_array, raw=False, strict_map_key=False)
    except (msgpack.UnpackException, UnicodeDecodeError) as error:
        raise ValueError(f"neither npz nor msgpack: {error}") from error


def _array(stored: Mapping[Any, Any]) -> Any:
    """msgpack-numpy's form of an array; its arrays of objects are pickles and are refused."""
    if not (stored.get("nd") or stored.get(b"nd")):
        return stored
    kind, shape, data = (stored.get(name, stored.get(name.encode())) for name in ("type", "shape", "data"))
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if np.dtype(kind).hasobject:
        raise ValueError("an array of pickled objects")
    return np.frombuffer(data, np.dtype(kind)).reshape(shape)
