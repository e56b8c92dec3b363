"""COCO captions in Karpathy's splits -> shards. See README.md beside this file.

    python datasets/coco/convert.py --annotations dataset_coco.json --images train2014.zip val2014.zip

Load it with `shards: data/coco/train-*.tar` and `vl.data.views.caption.CaptionView`.
"""

from __future__ import annotations

from pathlib import Path

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.karpathy import Captioned, read_splits
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.sample import Caption, Record

CARD = Card(
    name="coco",
    source="COCO 2014 captions (arXiv:1405.0312, arXiv:1504.00325), Karpathy's splits",
    licence="annotations CC-BY-4.0, pictures under their Flickr terms",
    splits={
        "train": "82,783 pictures of COCO's train2014",
        "restval": "30,504 pictures of val2014 that are trained on too",
        "val": "5,000 pictures for choosing a model",
        "test": "5,000 pictures (COCO 5K)",
    },
    languages=("en",),
    settings={"recipe": 1},
)


def make(image: Captioned, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its captions."""

    def record(width: int, height: int) -> Record:
        captions = tuple(Caption(text) for text in image.captions)
        return Record(captions=captions, width=width, height=height, source=f"coco/{image.coco_id}", licence="Flickr")

    return picture_sample(Path(image.name).stem, pictures, image.name, record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "coco", "Karpathy's dataset_coco.json").parse_args(args)
    try:
        splits = read_splits(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {split: splits.get(split, []) for split in CARD.splits}, make)


if __name__ == "__main__":
    main()
