"""Flickr30k captions in Karpathy's splits, with the boxes of Flickr30k Entities -> shards. See README.md.

    python datasets/flickr30k/convert.py --annotations dataset_flickr30k.json --images flickr30k-images
    python datasets/flickr30k/convert.py --annotations dataset_flickr30k.json --images flickr30k-images \\
        --entities flickr30k_entities [--splits entities]    # phrases with their boxes; in the splits they come with

Load it with `shards: data/flickr30k/train-*.tar` and `vl.data.views.caption.CaptionView`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.entities import around, read_entities, read_split
from vl.data.karpathy import Captioned, read_splits
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.sample import Caption, Expression, Record

CARD = Card(
    name="flickr30k",
    source="Flickr30k (TACL 2014), Karpathy's splits; Flickr30k Entities (arXiv:1505.04870) where given",
    licence="for non-commercial research; pictures under their Flickr terms",
    splits={"train": "29,000 pictures", "val": "1,014 pictures", "test": "1,000 pictures (Flickr30k 1K)"},
    languages=("en",),
)


def make(work: tuple[Captioned, Path | None], pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its captions, and its phrases if there are entities."""
    image, entities = work
    stem = Path(image.name).stem
    groundings = read_entities(entities, stem).groundings if entities else ()
    phrases = [one for sentence in groundings for one in sentence.phrases]

    def record(width: int, height: int) -> Record:
        return Record(
            captions=tuple(Caption(text) for text in image.captions),
            expressions=tuple(Expression(one.id, one.text, around(one.boxes), type=one.type) for one in phrases),
            groundings=groundings,
            width=width, height=height, source=f"flickr30k/{stem}", licence="Flickr",
        )  # fmt: skip

    return picture_sample(stem, pictures, image.name, record)


def entity_splits(splits: Mapping[str, list[Captioned]], entities: Path) -> dict[str, list[Captioned]]:
    """The pictures in the splits of the entities' release; 769 of them are not in Karpathy's file: no captions."""
    images = {Path(image.name).stem: image for several in splits.values() for image in several}
    return {
        split: [images.get(name) or Captioned(f"{name}.jpg", (), None) for name in read_split(entities, split)]
        for split in CARD.splits
    }


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "flickr30k", "Karpathy's dataset_flickr30k.json")
    options.add_argument("--entities", type=Path, help="folder of Flickr30k Entities: Annotations/ and Sentences/")
    options.add_argument("--splits", choices=("karpathy", "entities"), default="karpathy", help="whose (%(default)s)")
    options = options.parse_args(args)
    try:
        splits = read_splits(options.annotations)
        if options.splits == "entities":
            if options.entities is None:
                raise ValueError("--splits entities needs --entities, whose folder has train.txt, val.txt and test.txt")
            splits = entity_splits(splits, options.entities)
    except ValueError as error:
        refuse(error)
    settings = {"recipe": 2, "entities": options.entities is not None, "splits": options.splits}
    told = {split: f"{len(images):,} pictures, split by {options.splits}" for split, images in splits.items()}
    card = msgspec.structs.replace(
        CARD, settings=settings, splits=told if options.splits == "entities" else CARD.splits
    )
    work = {split: [(image, options.entities) for image in splits.get(split, [])] for split in CARD.splits}
    run(options, card, work, make)


if __name__ == "__main__":
    main()
