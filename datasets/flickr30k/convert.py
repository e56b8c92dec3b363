"""Flickr30k captions in Karpathy's splits, with the boxes of Flickr30k Entities -> shards. See README.md.

    python datasets/flickr30k/convert.py --annotations dataset_flickr30k.json --images flickr30k-images
    python datasets/flickr30k/convert.py --annotations dataset_flickr30k.json --images flickr30k-images \\
        --entities flickr30k_entities     # phrases with their boxes, as expressions

Load it with `shards: data/flickr30k/train-*.tar` and `vl.data.views.caption.CaptionView`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.karpathy import Captioned, read_splits
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.sample import Box, Caption, Expression, Record

CARD = Card(
    name="flickr30k",
    source="Flickr30k (TACL 2014), Karpathy's splits; Flickr30k Entities (arXiv:1505.04870) where given",
    licence="for non-commercial research; pictures under their Flickr terms",
    splits={"train": "29,000 pictures", "val": "1,014 pictures", "test": "1,000 pictures (Flickr30k 1K)"},
    languages=("en",),
)
#: `[/EN#283585/people Two men]` in a sentence: the number of an entity, its types and its phrase.
PHRASE = re.compile(r"\[/EN#(\d+)((?:/\w+)+) ([^\]]*)\]")


def entity_boxes(path: Path) -> dict[str, Box]:
    """The box of each entity: around all of its boxes.

    Raises:
        ValueError: the file is malformed; names it.
    """
    try:
        root = ElementTree.parse(path).getroot()
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        boxes: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for thing in root.iter("object"):
            if (box := thing.find("bndbox")) is not None:
                corners = tuple(int(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax"))
                for name in thing.iter("name"):
                    boxes[name.text or ""].append(corners)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise ValueError(f"{path} is malformed: {error}") from error
    around = {}
    for name, found in boxes.items():
        left, top, right, bottom = zip(*found, strict=True)
        around[name] = (min(left) / width, min(top) / height, max(right) / width, max(bottom) / height)
    return around


def phrases(entities: Path, stem: str) -> tuple[Expression, ...]:
    """The phrases of a picture's sentences that have a box; what was not drawn (a scene) is left out."""
    boxes = entity_boxes(entities / "Annotations" / f"{stem}.xml")
    path = entities / "Sentences" / f"{stem}.txt"
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return tuple(
        Expression(f"{stem}-{line}-{number}", phrase, boxes[entity], type=kinds.split("/")[1])
        for line, sentence in enumerate(path.read_text(encoding="utf-8").splitlines())
        for number, (entity, kinds, phrase) in enumerate(PHRASE.findall(sentence))
        if entity in boxes
    )


def make(work: tuple[Captioned, Path | None], pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its captions, and its phrases if there are entities."""
    image, entities = work
    stem = Path(image.name).stem

    def record(width: int, height: int) -> Record:
        return Record(
            captions=tuple(Caption(text) for text in image.captions),
            expressions=phrases(entities, stem) if entities else (),
            width=width, height=height, source=f"flickr30k/{stem}", licence="Flickr",
        )  # fmt: skip

    return picture_sample(stem, pictures, image.name, record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "flickr30k", "Karpathy's dataset_flickr30k.json")
    options.add_argument("--entities", type=Path, help="folder of Flickr30k Entities: Annotations/ and Sentences/")
    options = options.parse_args(args)
    try:
        splits = read_splits(options.annotations)
    except ValueError as error:
        refuse(error)
    card = msgspec.structs.replace(CARD, settings={"recipe": 1, "entities": options.entities is not None})
    work = {split: [(image, options.entities) for image in splits.get(split, [])] for split in CARD.splits}
    run(options, card, work, make)


if __name__ == "__main__":
    main()
