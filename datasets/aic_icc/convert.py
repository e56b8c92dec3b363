"""AIC-ICC, the Chinese captions of the AI Challenger -> shards. See README.md beside this file.

    python datasets/aic_icc/convert.py --annotations caption_train_annotations_20170902.json --split train \\
        --images caption_train_images_20170902

One file at a time, each into a folder of its own, data/aic_icc/SPLIT. Load it with
`shards: data/aic_icc/train/train-*.tar` and `vl.data.views.caption.CaptionView(languages=["zh"])`.
"""

from __future__ import annotations

from pathlib import Path

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json
from vl.data.sample import Caption, Record

CARD = Card(
    name="aic_icc",
    source="AI Challenger 2017, image Chinese captioning (arXiv:1711.06475)",
    licence="for research, under the terms of the challenge",
    splits={"train": "210,000 pictures with 5 captions each", "val": "30,000 pictures, which papers test on"},
    languages=("zh",),
    settings={"recipe": 1},
)
Picture = tuple[str, tuple[str, ...]]


def pictures_of(path: str) -> list[Picture]:
    """The pictures of a file with their captions.

    Raises:
        ValueError: the file or an entry is malformed; names file and entry.
    """
    found = []
    for number, row in enumerate(read_json(path)):
        try:
            found.append((row["image_id"], tuple(text.strip() for text in row["caption"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, entry {number} is malformed: {error!r}") from error
    return found


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its captions."""
    name, texts = picture

    def record(width: int, height: int) -> Record:
        captions = tuple(Caption(text, "zh") for text in texts)
        return Record(captions=captions, width=width, height=height, source=f"aic_icc/{name}", licence="AI Challenger")

    return picture_sample(Path(name).stem, pictures, name, record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "aic_icc", "caption_*_annotations_*.json", CARD.splits).parse_args(args)
    try:
        found = pictures_of(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {options.split: found}, make)


if __name__ == "__main__":
    main()
