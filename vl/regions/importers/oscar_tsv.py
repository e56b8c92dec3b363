"""Oscar's and VinVL's tsv: key, and json {num_boxes, features: base64 of float32 (n, 2054)}.

The last six columns of a feature are the box: x1 y1 x2 y2 in 0..1, width, height. Beside `feature.tsv` there may be
`feature.lineidx`, the byte at which each line begins, and `label.tsv`, the objects' names: key, and json
[{class, conf, ...}] in the order of the regions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from vl.regions.importers.base import Imported, Malformed, decode, regions, unknown

_BOX = 6


def read(path: Path) -> Iterator[Imported]:
    """The pictures of a tsv, in its order."""
    labels = path.with_name(path.name.replace("feature", "label"))
    rows = _rows(path)
    named = _rows(labels) if labels != path and labels.exists() else iter(())
    for number, (row, label) in enumerate(zip_longest(rows, named), 1):
        try:
            yield _picture(row, label)
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed(path, f"line {number}", error) from error


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Key and content of each line, which must begin where the lineidx says."""
    index = path.with_suffix(".lineidx")
    starts = [int(line) for line in index.read_text().split()] if index.exists() else None
    with open(path, "rb") as file:
        number, start = 0, 0
        while line := file.readline():
            number += 1
            if starts is not None and starts[number - 1 : number] != [start]:
                raise Malformed(path, f"line {number}", f"begins at byte {start}, but not so in {index.name}")
            try:
                key, content = line.rstrip(b"\r\n").split(b"\t")
                yield key.decode(), json.loads(content)
            except ValueError as error:
                raise Malformed(path, f"line {number}", error) from error
            start = file.tell()
    if starts is not None and number != len(starts):
        raise Malformed(path, f"line {number}", f"is the last, but {index.name} lists {len(starts)}: cut short?")


def _picture(row: tuple[str, Any], label: tuple[str, Any] | None) -> Imported:
    if row is None:
        raise ValueError("there are more labels than features")
    key, content = row
    table = decode(base64.b64decode(content["features"]), "f4", int(content["num_boxes"]), -1)
    features, boxes = table[:, :-_BOX], table[:, -_BOX:-2]
    if boxes.size and not (boxes.min() >= -0.1 and boxes.max() <= 1.1):
        raise ValueError("the last six columns are no boxes in 0..1")
    objects = [] if label is None else _objects(key, label, len(table))
    confidence = np.array([thing["conf"] for thing in objects] or np.zeros(len(table)))
    likeliest = sorted(objects, key=lambda thing: -thing["conf"])
    tags = tuple(dict.fromkeys(thing["class"] for thing in likeliest))
    return Imported(key, regions(features, boxes, unknown(len(table)), confidence), tags=tags)


def _objects(key: str, label: tuple[str, Any], count: int) -> list[dict]:
    name, objects = label
    if isinstance(objects, dict):  # VinVL's predictions
        objects = objects["objects"]
    if name != key or len(objects) != count:
        raise ValueError(f"{count} regions of {key}, but {len(objects)} labels of {name}")
    return objects
