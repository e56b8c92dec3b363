"""Caption files of one sentence a line, as the Chinese versions of COCO and Flickr release them.

COCO_val2014_000000000042.jpg#zhm#0 一只狗
1000268201_693b08cb0e#zhc#1<tab>一个小女孩
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from vl.data.rows import lines

#: A picture, with or without its ending; the kind and number of the sentence; the sentence.
_LINE = re.compile(r"(?P<name>[^#\s]+?)(?:\.jpe?g)?#(?P<number>\S+)\s+(?P<text>.*\S)\s*")


def read_sentences(path: str | Path) -> dict[str, list[str]]:
    """The sentences of each picture, by its name without an ending.

    Raises:
        ValueError: a line is malformed; names file and line.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        if not (match := _LINE.fullmatch(line)):
            raise ValueError(f"{path}, line {number} is not `PICTURE#NUMBER SENTENCE`: {line[:80]!r}")
        found[match["name"]].append(match["text"])
    return dict(found)


def read_names(path: str | Path) -> list[str]:
    """The pictures of a split: one name a line, endings and sentence numbers taken off, each once."""
    names = (re.split(r"\.jpe?g|#|\s", line.strip())[0] for line in lines(path) if line.strip())
    return list(dict.fromkeys(names))
