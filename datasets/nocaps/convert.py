"""nocaps -> shards. See README.md beside this file.

    python datasets/nocaps/convert.py --annotations nocaps_val_4500_captions.json --split val --images nocaps_val
    python datasets/nocaps/convert.py --annotations nocaps_test_image_info.json --split test --images nocaps_test

One file at a time, each into a folder of its own, data/nocaps/SPLIT. Load it with `shards: data/nocaps/val/val-*.tar`
and `vl.data.views.caption.CaptionView(choose="all")`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json
from vl.data.sample import Caption

CARD = Card(
    name="nocaps",
    source="nocaps (arXiv:1812.08658) on Open Images pictures",
    licence="captions CC-BY-2.0, pictures CC-BY-2.0",
    splits={"val": "4,500 pictures with 10 captions each", "test": "10,600 pictures, captions on the server alone"},
    languages=("en",),
    settings={"recipe": 1},
)
Picture = tuple[Mapping[str, Any], tuple[Caption, ...]]


def pictures_of(path: str) -> list[Picture]:
    """The pictures of a file with their captions.

    Raises:
        ValueError: the file or an entry is malformed; names file and entry.
    """
    content = read_json(path)
    captions: dict[int, list[Caption]] = defaultdict(list)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError(f"{path} has no list `images`")
    for number, row in enumerate(content.get("annotations", ())):
        try:
            captions[row["image_id"]].append(Caption(row["caption"].strip()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, entry {number} of annotations is malformed: {error!r}") from error
    for number, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not {"id", "file_name"} <= image.keys():
            raise ValueError(f"{path}, entry {number} of images is malformed: {str(image)[:80]}")
    return [(image, tuple(captions[image["id"]])) for image in content["images"]]


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture; `domain` (in, near or out of COCO's classes) stays in its record."""
    image, captions = picture

    def record(width: int, height: int) -> dict[str, object]:
        source = f"open_images/{image.get('open_images_id', image['file_name'])}"
        known = {"captions": captions, "width": width, "height": height, "source": source, "licence": "CC-BY-2.0"}
        return known | ({"domain": image["domain"]} if "domain" in image else {})

    return picture_sample(f"nocaps-{image['id']}", pictures, image["file_name"], record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "nocaps", "a released JSON in COCO's layout", CARD.splits).parse_args(args)
    try:
        found = pictures_of(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {options.split: found}, make)


if __name__ == "__main__":
    main()
