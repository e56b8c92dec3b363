"""Karpathy's splits of COCO, Flickr30k and Flickr8k: `dataset_*.json`.

"Deep Visual-Semantic Alignments for Generating Image Descriptions", arXiv:1412.2306.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from vl.data.rows import read_json


class Captioned(NamedTuple):
    """A picture of the file: its name, with folder where there is one, and its captions."""

    name: str
    captions: tuple[str, ...]
    coco_id: int | None


def read_splits(path: str | Path) -> dict[str, list[Captioned]]:
    """The pictures of each split, in the file's order, which the folds of COCO 1K follow.

    Raises:
        ValueError: the file or an entry is malformed; names file and entry.
    """
    content: Any = read_json(path)
    splits: dict[str, list[Captioned]] = defaultdict(list)
    try:
        images = content["images"]
    except (KeyError, TypeError):
        raise ValueError(f"{path} has no list `images`; Karpathy's dataset_*.json is wanted") from None
    for number, image in enumerate(images):
        try:
            folder = f"{image['filepath']}/" if image.get("filepath") else ""
            captions = tuple(one["raw"].strip() for one in image["sentences"])
            splits[image["split"]].append(Captioned(folder + image["filename"], captions, image.get("cocoid")))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, entry {number} of images is malformed: {error!r}") from error
    return dict(splits)
