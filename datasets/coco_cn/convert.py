"""COCO-CN -> shards. See README.md beside this file.

    python datasets/coco_cn/convert.py --annotations coco-cn-version1805v1.1 --images train2014.zip val2014.zip

Load it with `shards: data/coco_cn/train-*.tar` and `vl.data.views.caption.CaptionView(languages=["zh"])`.
"""

from __future__ import annotations

from pathlib import Path

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.sample import Caption, Record
from vl.data.sentences import read_names, read_sentences

CARD = Card(
    name="coco_cn",
    source="COCO-CN 1805v1.1 (arXiv:1805.08661): Chinese sentences that people wrote for COCO pictures",
    licence="for non-commercial research; pictures under their Flickr terms",
    splits={"train": "18,341 pictures", "val": "1,000 pictures", "test": "1,000 pictures"},
    languages=("zh",),
    settings={"recipe": 1},
)
SENTENCES = "imageid.human-written-caption.txt"
Picture = tuple[str, tuple[str, ...]]


def pictures_of(folder: Path) -> dict[str, list[Picture]]:
    """The pictures of each split with their sentences.

    Raises:
        ValueError: a file is missing or a line malformed, or a picture has no sentence; names file and line.
    """
    said = read_sentences(folder / SENTENCES)
    splits = {}
    for split in CARD.splits:
        names = read_names(path := folder / f"coco-cn_{split}.txt")
        if silent := [name for name in names if name not in said]:
            raise ValueError(f"{path} names {silent[0]}, which has no sentence in {SENTENCES}")
        splits[split] = [(name, tuple(said[name])) for name in names]
    return splits


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its Chinese sentences."""
    name, sentences = picture

    def record(width: int, height: int) -> Record:
        captions = tuple(Caption(text, "zh") for text in sentences)
        return Record(captions=captions, width=width, height=height, source=f"coco/{int(name[-12:])}", licence="Flickr")

    return picture_sample(name, pictures, f"{name.split('_')[1]}/{name}.jpg", record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "coco_cn", "the released folder").parse_args(args)
    try:
        splits = pictures_of(Path(options.annotations))
    except ValueError as error:
        refuse(error)
    run(options, CARD, splits, make)


if __name__ == "__main__":
    main()
