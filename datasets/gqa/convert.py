"""GQA -> shards. See README.md beside this file.

    python datasets/gqa/convert.py --annotations gqa/train_balanced_questions.json --split train --images images.zip
    python datasets/gqa/convert.py --annotations gqa/val_balanced_questions.json --split val --images images.zip

One file at a time, each into a folder of its own, data/gqa/SPLIT. Load it with `shards: data/gqa/train/train-*.tar` and
`vl.data.views.qa.QAView`.
"""

from __future__ import annotations

from collections import defaultdict

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json
from vl.data.sample import Question, Record

CARD = Card(
    name="gqa",
    source="GQA 1.2 (arXiv:1902.09506) on Visual Genome pictures",
    licence="annotations CC-BY-4.0, pictures under their Flickr terms",
    splits={
        "train": "943,000 balanced questions about 72,140 pictures",
        "val": "132,062 balanced questions about 10,234 pictures",
        "testdev": "12,578 balanced questions about 398 pictures: what LXMERT and others report",
        "test": "95,336 balanced questions about 2,987 pictures, no answers",
    },
    languages=("en",),
    settings={"recipe": 1},
)
Picture = tuple[str, tuple[Question, ...]]


def questions(path: str) -> list[Picture]:
    """The pictures of a file, each with its questions; a question's program is its `semantic`.

    Raises:
        ValueError: the file or an entry is malformed; names file and question.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a mapping of questions by id")
    asked: dict[str, list[Question]] = defaultdict(list)
    for name, one in content.items():
        try:
            answers = (one["answer"],) if "answer" in one else ()
            kind = one["types"]["semantic"] if "types" in one else ""
            found = Question(name, one["question"], answers, kind, program=tuple(one.get("semantic", ())))
            asked[one["imageId"]].append(found)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}, question {name} is malformed: {error!r}") from error
    return [(image, tuple(found)) for image, found in asked.items()]


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its questions."""
    image, asked = picture

    def record(width: int, height: int) -> Record:
        return Record(qa=asked, width=width, height=height, source=f"visual_genome/{image}", licence="Flickr")

    return picture_sample(f"gqa-{image}", pictures, f"{image}.jpg", record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "gqa", "a *_questions.json", CARD.splits).parse_args(args)
    try:
        found = questions(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {options.split: found}, make)


if __name__ == "__main__":
    main()
