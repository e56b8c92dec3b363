"""LXMERT's tsv (airsplay/lxmert, README): a line a picture, arrays as base64 of little-endian bytes.

Boxes are regressed, xyxy in pixels. Of classes and attributes only the likeliest is stored, counted without background.
"""

from __future__ import annotations

import base64
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from vl.regions.importers.base import Imported, Malformed, decode, peaked, regions, scaled

FIELDS = ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes",
          "features")  # fmt: skip
CLASSES, ATTRIBUTES = 1600, 400


def read(path: Path) -> Iterator[Imported]:
    """The pictures of a tsv, in its order."""
    csv.field_size_limit(sys.maxsize)
    with open(path, newline="") as file:
        for row in (reader := csv.reader(file, delimiter="\t")):
            try:
                yield _picture(row)
            except ValueError as error:
                raise Malformed(path, f"line {reader.line_num}", error) from error


def _picture(row: list[str]) -> Imported:
    if len(row) != len(FIELDS):
        raise ValueError(f"{len(row)} columns where LXMERT has {len(FIELDS)}: {', '.join(FIELDS)}")
    fields = dict(zip(FIELDS, row, strict=True))
    height, width, count = (int(fields[name]) for name in ("img_h", "img_w", "num_boxes"))

    def array(name: str, dtype: str, *shape: int):
        try:
            return decode(base64.b64decode(fields[name], validate=True), dtype, *shape)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    confidence, likely = array("objects_conf", "f4", count), array("attrs_conf", "f4", count)
    classes = peaked(array("objects_id", "i8", count), confidence, CLASSES)
    attributes = peaked(array("attrs_id", "i8", count), likely, ATTRIBUTES)
    boxes = scaled(array("boxes", "f4", count, 4), height, width)
    found = regions(array("features", "f4", count, -1), boxes, classes, confidence, attributes)
    return Imported(fields["img_id"], found, (height, width))
