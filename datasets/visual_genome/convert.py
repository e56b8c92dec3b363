"""Visual Genome: regions, questions, objects with attributes -> shards. See README.md beside this file.

    python datasets/visual_genome/convert.py --annotations visual_genome --images images.zip images2.zip

`--annotations` is a folder with image_data.json and any of region_descriptions.json, question_answers.json,
attributes.json. Load it with `shards: data/visual_genome/train-*.tar` and `vl.data.views.caption.CaptionView` (region
phrases as captions), `vl.data.views.qa.QAView` or the view of expressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json
from vl.data.sample import Box, Caption, Expression, Object, Question, Record

CARD = Card(
    name="visual_genome",
    source="Visual Genome 1.4 (arXiv:1602.07332)",
    licence="annotations CC-BY-4.0, pictures under their Flickr terms",
    splits={"train": "98% of the pictures", "val": "2%, by a hash of the picture's number"},
    languages=("en",),
)
VAL = 0.02
#: File -> its list of things of a picture.
FILES = {"region_descriptions.json": "regions", "question_answers.json": "qas", "attributes.json": "attributes"}


def pictures_of(folder: Path) -> Iterator[dict[str, Any]]:
    """One mapping a picture: `id`, `width`, `height`, `coco_id`, and the lists of `FILES` that are there.

    Raises:
        ValueError: a file or entry is malformed; names it.
    """
    images = read_json(folder / "image_data.json")
    lists: dict[str, Mapping[Any, Any]] = {}
    for file, field in FILES.items():
        if (folder / file).is_file():
            lists[field] = {one.get("id", one.get("image_id")): one.get(field, ()) for one in read_json(folder / file)}
    for number, image in enumerate(images):
        if not isinstance(image, dict) or not {"image_id", "width", "height"} <= image.keys():
            raise ValueError(f"{folder / 'image_data.json'}, entry {number} is malformed: {str(image)[:80]}")
        own = {field: found.get(image["image_id"], ()) for field, found in lists.items()}
        yield {
            "id": image["image_id"],
            "coco_id": image.get("coco_id"),
            "size": (image["width"], image["height"]),
        } | own


def box(thing: Mapping[str, Any], size: tuple[int, int], width: str, height: str) -> Box:
    """The box of a region or object, cut at the picture's edges."""
    x, y = thing["x"], thing["y"]
    right, bottom = min(x + thing[width], size[0]), min(y + thing[height], size[1])
    return max(x, 0) / size[0], max(y, 0) / size[1], right / size[0], bottom / size[1]


def record_of(picture: Mapping[str, Any]) -> Record:
    """Everything that is known of a picture.

    Raises:
        ValueError: a region, question or object lacks a field; names the picture and the field.
    """
    size = picture["size"]
    try:
        regions = [
            Expression(str(one["region_id"]), one["phrase"].strip(), box(one, size, "width", "height"))
            for one in picture.get("regions", ())
        ]
        asked = [
            Question(str(one["qa_id"]), one["question"], (one["answer"].rstrip("."),)) for one in picture.get("qas", ())
        ]
        objects = [
            Object(box(one, size, "w", "h"), one["names"][0], tuple(one.get("attributes") or ()))
            for one in picture.get("attributes", ())
        ]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"Visual Genome, picture {picture['id']} is malformed: {error!r}") from error
    coco = f" coco/{picture['coco_id']}" if picture["coco_id"] else ""
    return Record(
        captions=tuple(Caption(one.text) for one in regions),
        expressions=tuple(regions), qa=tuple(asked), objects=tuple(objects), width=size[0], height=size[1],
        source=f"visual_genome/{picture['id']}{coco}", licence="Flickr",
    )  # fmt: skip


def make(one: Mapping[str, Any], pictures: Pictures) -> Made | Missing:
    """The sample of one picture."""
    return picture_sample(f"vg-{one['id']}", pictures, f"{one['id']}.jpg", lambda width, height: record_of(one))


def in_val(number: int) -> bool:
    return int.from_bytes(blake2b(str(number).encode(), digest_size=8).digest(), "big") / 2**64 < VAL


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "visual_genome", "folder with image_data.json and the files beside it").parse_args(args)
    folder = Path(options.annotations)
    try:
        every = list(pictures_of(folder))
    except ValueError as error:
        refuse(error)
    splits = {split: [one for one in every if in_val(one["id"]) == (split == "val")] for split in CARD.splits}
    files = [file for file in FILES if (folder / file).is_file()]
    run(options, msgspec.structs.replace(CARD, settings={"recipe": 1, "files": files}), splits, make)


if __name__ == "__main__":
    main()
