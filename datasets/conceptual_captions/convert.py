"""Conceptual Captions 3M and 12M -> shards. See README.md beside this file.

    img2dataset --url_list Train_GCC-training.tsv ... --output_folder cc3m    # or any way to fetch the pictures
    python datasets/conceptual_captions/convert.py --annotations Train_GCC-training.tsv --split train \\
        --images 'cc3m/*.tar'
    python datasets/conceptual_captions/convert.py --annotations cc12m.tsv --split train \\
        --images 'cc12m/*.tar' --out data/cc12m

Pictures are found in img2dataset's shards by their URL; in a folder or .zip by the number of their line, as
000000123.jpg. Load it with `shards: data/cc3m/train/train-*.tar` and `vl.data.views.caption.CaptionView`.
"""

from __future__ import annotations

import msgspec

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures
from vl.data.recipe import parser, refuse, run
from vl.data.rows import Lines
from vl.data.web import UrlRow, web_sample

CARD = Card(
    name="conceptual_captions",
    source="Conceptual Captions 3M (ACL 2018) or 12M (arXiv:2102.08981): web pictures with their cleaned alt texts",
    licence="captions free for any purpose with credit to Google; pictures under their owners' terms",
    splits={"train": "3,318,333 lines (3M), 12,423,374 (12M), less what the web has lost", "val": "15,840 lines (3M)"},
    languages=("en",),
)


def make(line: tuple[int, str], path: str, pictures: Pictures) -> Made | Missing:
    """The sample of one line: 3M has `caption, url`, 12M `url, caption`.

    Raises:
        ValueError: the line has not two fields of which one is a URL; names file and line.
    """
    number, text = line
    fields = text.split("\t")
    if len(fields) != 2 or not any(field.startswith("http") for field in fields):
        raise ValueError(f"{path}, line {number} is not a caption and a URL with a tab between: {text[:80]!r}")
    url, caption = fields if fields[0].startswith("http") else fields[::-1]
    return web_sample(UrlRow(number, url, caption), pictures, "conceptual_captions", "en")


def main(args: list[str] | None = None) -> None:
    annotations = "Train_GCC-training.tsv, Validation_GCC-1.1.0-Validation.tsv or cc12m.tsv"
    options = parser(__doc__, "cc3m", annotations, CARD.splits).parse_args(args)
    try:
        lines = Lines(options.annotations)
    except ValueError as error:
        refuse(error)
    card = msgspec.structs.replace(CARD, settings={"recipe": 1, "lines": len(lines)})
    run(options, card, {options.split: lines}, make, path=options.annotations)


if __name__ == "__main__":
    main()
