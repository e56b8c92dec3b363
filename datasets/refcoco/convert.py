"""RefCOCO, RefCOCO+ and RefCOCOg -> shards. See README.md beside this file.

    python datasets/refcoco/convert.py --annotations refcoco+ --images train2014.zip --out data/refcoco+
    python datasets/refcoco/convert.py --annotations refcocog --refs 'refs(umd).p' --images train2014 \\
        --out data/refcocog

Load it with `shards: data/refcoco+/train-*.tar` and `vl.data.views.expression.ExpressionView`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.refer import Refer, read_refer
from vl.data.sample import Box, Expression, Object, Record

SPLITS = {
    "train": "for training",
    "val": "for choosing a model",
    "testA": "expressions for people (RefCOCO, RefCOCO+)",
    "testB": "expressions for other things (RefCOCO, RefCOCO+)",
    "test": "RefCOCOg's",
}
Picture = tuple[Mapping[str, Any], tuple[Expression, ...], tuple[Object, ...]]


def fraction(box: tuple[float, ...], image: Mapping[str, Any]) -> Box:
    """x, y, width, height in pixels as corners in 0..1."""
    x, y, width, height = box
    return (x / image["width"], y / image["height"],
            min(1.0, (x + width) / image["width"]), min(1.0, (y + height) / image["height"]))  # fmt: skip


def pictures_of(refer: Refer, split: str) -> list[Picture]:
    """The pictures of a split with their expressions, and the boxes of people to choose from."""
    said: dict[int, list[Expression]] = defaultdict(list)
    for one in refer.references:
        if one.split == split:
            said[one.image_id].append(Expression(one.sent_id, one.text, fraction(one.box, refer.images[one.image_id])))
    return [
        (image := refer.images[number], tuple(found),
         tuple(Object(fraction(box, image), name) for box, name in refer.objects[number]))
        for number, found in said.items()
    ]  # fmt: skip


def make(work: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture."""
    image, expressions, objects = work

    def record(width: int, height: int) -> Record:
        return Record(expressions=expressions, objects=objects, width=width, height=height,
                      source=f"coco/{image['id']}", licence="Flickr")  # fmt: skip

    return picture_sample(Path(image["file_name"]).stem, pictures, image["file_name"], record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "refcoco", "folder with instances.json and refs(...).p")
    options.add_argument("--refs", help="the refs file of a folder that holds several, such as 'refs(umd).p'")
    options = options.parse_args(args)
    try:
        refer = read_refer(options.annotations, options.refs)
        splits = {split: found for split in SPLITS if (found := pictures_of(refer, split))}
    except ValueError as error:
        refuse(error)
    name = Path(options.annotations).name
    card = Card(
        name=name,
        source=f"{name} (arXiv:1608.00272) on COCO train2014, {options.refs or 'its only refs file'}",
        licence="annotations Apache-2.0, pictures under their Flickr terms",
        splits={split: SPLITS[split] for split in splits},
        languages=("en",),
        settings={"recipe": 1},
    )
    run(options, card, splits, make)


if __name__ == "__main__":
    main()
