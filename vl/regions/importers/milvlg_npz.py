"""MILVLG's npz, one a picture (bottom-up-attention.pytorch): x, bbox in pixels, num_bbox, image_h, image_w, info.

`info` is a pickled dict with classes and attributes and is never opened, so none of them is known. Boxes are proposals,
in the detector's order; there is no confidence to sort them by.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vl.regions.importers.base import Imported, Malformed, regions, scaled, unknown


def read(path: Path) -> Iterator[Imported]:
    """The npz files of a folder, by name; the id of a picture is its file's name."""
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no .npz files")
    for file in files:
        try:
            yield _picture(file)
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise Malformed(file, "its arrays", error) from error


def _picture(file: Path) -> Imported:
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
        features, boxes = arrays["x"], arrays["bbox"]
        count, height, width = (int(arrays[name]) for name in ("num_bbox", "image_h", "image_w"))
    if not len(features) == len(boxes) == count:
        raise ValueError(f"{len(features)} features and {len(boxes)} boxes where num_bbox is {count}")
    found = regions(features, scaled(boxes, height, width), unknown(count), np.zeros(count))
    return Imported(file.stem, found, (height, width))
