"""SNLI-VE -> shards. See README.md beside this file.

    python datasets/snli_ve/convert.py --annotations snli_ve_train.jsonl --split train --images flickr30k-images

One file at a time, each into a folder of its own, data/snli_ve/SPLIT. Load it with
`shards: data/snli_ve/train/train-*.tar` and `vl.data.views.entailment.EntailmentView`.
"""

from __future__ import annotations

from collections import defaultdict

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json_lines
from vl.data.sample import Entailment, Record

CARD = Card(
    name="snli_ve",
    source="SNLI-VE (arXiv:1901.06706): SNLI's hypotheses about Flickr30k pictures",
    licence="CC-BY-SA-4.0 (SNLI); pictures under their Flickr terms",
    splits={"train": "529,527 hypotheses", "dev": "17,858 hypotheses", "test": "17,901 hypotheses"},
    languages=("en",),
    settings={"recipe": 1},
)
LABELS = ("entailment", "neutral", "contradiction")
Picture = tuple[str, tuple[Entailment, ...]]


def hypotheses(path: str) -> list[Picture]:
    """The pictures of a file, each with its hypotheses. The text premise is left out: it tells what the picture shows.

    Raises:
        ValueError: a line is malformed; names file and line.
    """
    said: dict[str, list[Entailment]] = defaultdict(list)
    for number, row in enumerate(read_json_lines(path), start=1):
        try:
            found = Entailment(row["pairID"], row["sentence2"], row["gold_label"])
            image = row["Flickr30K_ID"]
        except KeyError as error:
            raise ValueError(f"{path}, row {number} has no field {error}") from error
        if found.label not in LABELS:
            raise ValueError(f"{path}, row {number}: gold_label is {found.label!r}, not one of {', '.join(LABELS)}")
        said[str(image)].append(found)
    return [(image, tuple(found)) for image, found in said.items()]


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its hypotheses."""
    image, said = picture

    def record(width: int, height: int) -> Record:
        return Record(entailment=said, width=width, height=height, source=f"flickr30k/{image}", licence="Flickr")

    return picture_sample(f"snli_ve-{image}", pictures, f"{image}.jpg", record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "snli_ve", "snli_ve_SPLIT.jsonl", CARD.splits).parse_args(args)
    try:
        found = hypotheses(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {options.split: found}, make)


if __name__ == "__main__":
    main()
