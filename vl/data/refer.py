"""RefCOCO, RefCOCO+ and RefCOCOg in their released form: `refs(unc).p` beside `instances.json`.

The refs are a pickle of lists, dictionaries, strings and numbers. It is read by an unpickler that knows no class at
all, so that nothing in it can run.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vl.data.rows import read_json

MAX_BYTES = 2**30


class Reference(NamedTuple):
    """One expression: the box it means is (x, y, width, height) in pixels."""

    sent_id: str
    text: str
    image_id: int
    split: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Refer:
    """The expressions of one of the data sets; its pictures (`file_name`, `width`, `height`) by id, and by the same the
    boxes of all objects that people drew in them, each with the name of its class."""

    references: list[Reference]
    images: Mapping[int, Mapping[str, Any]]
    objects: Mapping[int, list[tuple[tuple[float, float, float, float], str]]]


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_refs(path: str | Path) -> list[dict[str, Any]]:
    """The content of a refs file.

    Raises:
        ValueError: it is missing, too large, cut short, or holds more than plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} holds more than {MAX_BYTES:,} bytes")
    try:
        with path.open("rb") as file:
            refs = _PlainUnpickler(file, encoding="utf-8").load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is not a refs file of plain values: {error}") from error
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{path} is no pickle, or cut short: {error}") from error
    if not isinstance(refs, list):
        raise ValueError(f"{path} holds a {type(refs).__name__}, not a list of references")
    return refs


def read_refer(folder: str | Path, refs_name: str | None = None) -> Refer:
    """The expressions of a folder such as `refcoco+`.

    Args:
        folder: Holds `instances.json` and a file `refs(...).p`.
        refs_name: The name of the refs file, where there are several (refcocog has google and umd).

    Raises:
        ValueError: a file is missing or ambiguous, or an entry is malformed; names file and entry.
    """
    folder = Path(folder)
    path = folder / (refs_name or _only(folder))
    instances = read_json(folder / "instances.json")
    images = {row["id"]: row for row in instances["images"]}
    classes = {row["id"]: row["name"] for row in instances["categories"]}
    box_of: dict[int, Any] = {row["id"]: tuple(map(float, row["bbox"])) for row in instances["annotations"]}
    objects: dict[int, list[Any]] = {}
    for row in instances["annotations"]:
        objects.setdefault(row["image_id"], []).append((box_of[row["id"]], classes[row["category_id"]]))
    references = []
    for number, ref in enumerate(read_refs(path)):
        try:
            references += [
                Reference(str(one["sent_id"]), one["sent"], ref["image_id"], ref["split"], box_of[ref["ann_id"]])
                for one in ref["sentences"]
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}, entry {number} is malformed: {error!r}") from error
    return Refer(references, images, objects)


def _only(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("refs(*).p"))
    if len(names) != 1:
        raise ValueError(f"{folder} holds {names or 'no file refs(...).p'}; name the one to read")
    return names[0]
