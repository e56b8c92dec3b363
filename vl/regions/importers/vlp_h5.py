"""VLP's h5: a folder with `*_feat*.h5` and `*_cls*.h5`, split by the last digits of ids, and a `*_bbox.h5`.

A dataset a picture in each: features (n, 2048), class probabilities (n, 1601) with the background first, and boxes
(n, 6): xyxy in pixels, class, confidence. The size of a picture is not stored: as in VLP, boxes are divided by the
largest coordinate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vl.regions.importers.base import Imported, Malformed, regions


def read(path: Path) -> Iterator[Imported]:
    """The pictures in a folder (and its subfolders), file by file."""
    import h5py

    bboxes = sorted(path.rglob("*_bbox*.h5"))
    if len(bboxes) != 1:
        raise ValueError(f"{path} has {len(bboxes)} files *_bbox*.h5; it takes one")
    for file in sorted(path.rglob("*_feat*.h5")):
        head, _, tail = file.name.rpartition("_feat")
        with ExitStack() as stack:
            try:
                paths = (file, file.with_name(f"{head}_cls{tail}"), bboxes[0])
                stored = [stack.enter_context(h5py.File(one, "r")) for one in paths]
            except OSError as error:
                raise Malformed(file, "it, its classes and its boxes", error) from error
            for key in stored[0]:
                yield _picture(file, key, stored)


def _picture(path: Path, key: str, stored: list[Any]) -> Imported:
    try:
        features, classes, boxes = (np.asarray(one[key], np.float32) for one in stored)
        if boxes.ndim != 2 or boxes.shape[1] != 6 or not len(features) == len(classes) == len(boxes):
            raise ValueError(f"shapes {features.shape}, {classes.shape}, {boxes.shape}")
    except (ValueError, KeyError) as error:
        raise Malformed(path, f"picture {key}", error) from error
    across, down = (max(boxes[:, axes].max(initial=0), 1e-5) for axes in ([0, 2], [1, 3]))
    corners = boxes[:, :4] / np.array([across, down, across, down], np.float32)
    return Imported(key, regions(features, corners, torch.from_numpy(classes), boxes[:, 5]))
