"""VCR -> shards. See README.md beside this file.

    python datasets/vcr/convert.py --annotations vcr1/train.jsonl --split train --images vcr1images.zip

One file at a time, each into a folder of its own, data/vcr/SPLIT. Load it with `shards: data/vcr/train/train-*.tar` and
`vl.data.views.choices.ChoicesView`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json_lines
from vl.data.sample import Choice, Object, Record

CARD = Card(
    name="vcr",
    source="VCR 1.0 (arXiv:1811.10830): questions about film stills, four answers, four rationales",
    licence="for non-commercial research, under the terms of visualcommonsense.com",
    splits={"train": "212,923 questions", "val": "26,534 questions", "test": "25,263 questions, no labels"},
    languages=("en",),
    settings={"recipe": 1},
)
#: People are called by these, by the number of their box, as in the released baseline, so that texts read as texts.
NAMES = ("Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody", "Kendall", "Frankie", "Pat",
         "Quinn")  # fmt: skip
Picture = tuple[str, str, tuple[str, ...], tuple[Choice, ...]]


def sentence(tokens: Sequence[str | list[int]], objects: Sequence[str]) -> str:
    """Words, with boxes by name: `[[0, 2], "sit", "."]` is `Casey and Jessie sit .`"""
    words = (
        token if isinstance(token, str) else " and ".join(called(number, objects) for number in token)
        for token in tokens
    )
    return " ".join(words)


def called(number: int, objects: Sequence[str]) -> str:
    """What a box is called: a name for a person, its class for anything else."""
    return NAMES[number % len(NAMES)] if objects[number] == "person" else objects[number]


def choice(row: dict[str, Any]) -> Choice:
    """The question of a row; a test question has no labels, which are 0 then."""
    objects = row["objects"]
    answers, rationales = (
        tuple(sentence(one, objects) for one in row[name]) for name in ("answer_choices", "rationale_choices")
    )
    return Choice(row["annot_id"], sentence(row["question"], objects), answers, row.get("answer_label", 0),
                  rationales, row.get("rationale_label", 0))  # fmt: skip


def questions(path: str) -> list[Picture]:
    """The pictures of a file: name, name of their metadata, classes of their boxes, questions.

    Raises:
        ValueError: a line is malformed; names file and line.
    """
    asked: dict[tuple[str, str, tuple[str, ...]], list[Choice]] = defaultdict(list)
    for number, row in enumerate(read_json_lines(path), start=1):
        try:
            asked[row["img_fn"], row["metadata_fn"], tuple(row["objects"])].append(choice(row))
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path}, row {number} is malformed: {error!r}") from error
    return [(*picture, tuple(found)) for picture, found in asked.items()]


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its questions, and the boxes of its metadata."""
    image, metadata, names, asked = picture
    if (data := pictures.find(metadata)) is None:
        return Missing(metadata, "not found")
    boxes = json.loads(data)["boxes"]

    def record(width: int, height: int) -> Record:
        objects = tuple(
            Object((x1 / width, y1 / height, x2 / width, y2 / height), name)
            for (x1, y1, x2, y2, *_), name in zip(boxes, names, strict=True)
        )
        return Record(choices=asked, objects=objects, width=width, height=height, source=f"vcr/{image}", licence="VCR")

    return picture_sample(asked[0].id, pictures, image, record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "vcr", "train.jsonl, val.jsonl or test.jsonl", CARD.splits).parse_args(args)
    try:
        found = questions(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {options.split: found}, make)


if __name__ == "__main__":
    main()
