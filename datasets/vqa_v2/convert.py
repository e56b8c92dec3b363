"""VQA v2 -> shards. See README.md beside this file.

    python datasets/vqa_v2/convert.py --annotations vqa --images train2014.zip val2014.zip test2015.zip

`--annotations` is a folder with the released files: v2_OpenEnded_mscoco_SPLIT_questions.json, and for train2014 and
val2014 v2_mscoco_SPLIT_annotations.json. Load it with `shards: data/vqa_v2/train-*.tar` and `vl.data.views.qa.QAView`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json
from vl.data.sample import Question, Record

CARD = Card(
    name="vqa_v2",
    source="VQA v2 (arXiv:1612.00837) on COCO pictures",
    licence="annotations CC-BY-4.0, pictures under their Flickr terms",
    splits={
        "train": "443,757 questions about 82,783 pictures",
        "val": "214,354 questions about 40,504 pictures",
        "test": "447,793 questions about 81,434 pictures, no answers; test-dev are some of them",
    },
    languages=("en",),
    settings={"recipe": 1},
)
RELEASED = {"train": "train2014", "val": "val2014", "test": "test2015"}
Picture = tuple[str, int, tuple[Question, ...]]


def questions(folder: Path, released: str) -> list[Picture]:
    """The pictures of a split, each with the release it is of, its COCO number and its questions.

    Raises:
        ValueError: a file or entry is malformed, or a question has no answers; names it.
    """
    path = folder / f"v2_OpenEnded_mscoco_{released}_questions.json"
    answers = {}
    answered = folder / f"v2_mscoco_{released}_annotations.json"
    if released != "test2015":
        answers = {row["question_id"]: row for row in read_json(answered)["annotations"]}
    asked: dict[int, list[Question]] = defaultdict(list)
    for number, row in enumerate(read_json(path)["questions"]):
        try:
            name, image, text = row["question_id"], row["image_id"], row["question"]
            found = answers[name] if answers else {"answers": (), "answer_type": ""}
            people = tuple(one["answer"] for one in found["answers"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}, entry {number} is malformed, or not in {answered.name}: {error!r}") from error
        asked[image].append(Question(str(name), text, people, found["answer_type"]))
    return [(released, image, tuple(found)) for image, found in asked.items()]


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its questions."""
    released, image, asked = picture
    key = f"COCO_{released}_{image:012d}"

    def record(width: int, height: int) -> Record:
        return Record(qa=asked, width=width, height=height, source=f"coco/{image}", licence="Flickr")

    return picture_sample(key, pictures, f"{released}/{key}.jpg", record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "vqa_v2", "folder with the released questions and annotations").parse_args(args)
    folder = Path(options.annotations)
    try:
        splits = {
            split: questions(folder, released)
            for split, released in RELEASED.items()
            if (folder / f"v2_OpenEnded_mscoco_{released}_questions.json").is_file()
        }
        if not splits:
            raise ValueError(f"{folder} holds no v2_OpenEnded_mscoco_*_questions.json")
    except (ValueError, KeyError) as error:
        refuse(ValueError(error))
    run(options, CARD, splits, make)


if __name__ == "__main__":
    main()
