"""Flickr30k Entities in its released form: which boxes of a picture the phrases of its sentences mean.

arXiv:1505.04870. A folder with `Annotations/ID.xml`, `Sentences/ID.txt` and the splits `train.txt`, `val.txt` and
`test.txt`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from vl.data.rows import lines
from vl.data.sample import Box, Grounding, Phrase

#: `[/EN#283585/people Two men]` in a sentence: the number of an entity, its types and its phrase.
_PHRASE = re.compile(r"\[/EN#(\d+)((?:/\w+)+) ([^\]]*)\]")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Entities(NamedTuple):
    """A picture's size in pixels, and its sentences."""

    width: int
    height: int
    groundings: tuple[Grounding, ...]


def read_entities(folder: str | Path, name: str) -> Entities:
    """The sentences of a picture that have a phrase with a box; phrases without one (scenes) are left out.

    The id of a phrase is the picture, the sentence and the number of the phrase in it, both from 0.

    Raises:
        ValueError: a file is missing or malformed; names it.
    """
    width, height, boxes = _boxes(Path(folder) / "Annotations" / f"{name}.xml")
    sentences = lines(Path(folder) / "Sentences" / f"{name}.txt")
    found = (_grounding(f"{name}-{number}", sentence, boxes) for number, sentence in enumerate(sentences))
    return Entities(width, height, tuple(one for one in found if one.phrases))


def read_split(folder: str | Path, split: str) -> list[str]:
    """The pictures of a split of the release, which is not Karpathy's.

    Raises:
        ValueError: there is no such split; names those there are.
    """
    path = Path(folder) / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in Path(folder).glob("*.txt"))) or "none"
        raise ValueError(f"{folder} has no split {split!r}; it has {known}")
    return lines(path)


def around(boxes: tuple[Box, ...]) -> Box:
    """The box around all of them."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _boxes(path: Path) -> tuple[int, int, Mapping[str, list[Box]]]:
    """Width and height of a picture, and the boxes of each entity."""
    try:
        root = ElementTree.parse(path).getroot()
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        boxes: dict[str, list[Box]] = defaultdict(list)
        for thing in root.iter("object"):
            if (box := thing.find("bndbox")) is not None:
                left, top, right, bottom = (int(box.findtext(side, "")) for side in _CORNERS)
                for name in thing.iter("name"):
                    boxes[name.text or ""].append((left / width, top / height, right / width, bottom / height))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise ValueError(f"{path} is malformed: {error}") from error
    return width, height, boxes


def _grounding(name: str, sentence: str, boxes: Mapping[str, list[Box]]) -> Grounding:
    """A sentence without its marks, and its phrases that have boxes."""
    text, last, phrases = "", 0, []
    for number, match in enumerate(_PHRASE.finditer(sentence)):
        entity, kinds, phrase = match.groups()
        text += sentence[last : match.start()] + phrase
        last = match.end()
        if entity in boxes:
            kind = kinds.split("/")[1]
            phrases.append(Phrase(f"{name}-{number}", phrase, len(text), tuple(boxes[entity]), kind))
    return Grounding(name, text + sentence[last:], tuple(phrases))
