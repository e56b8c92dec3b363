"""Imported region features to shards: members `regions.safetensors` and `json`, and the picture where it is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vl.data.card import Card, write_card
from vl.data.regions_member import write_regions
from vl.data.sample import IMAGE_MEMBERS
from vl.data.shards import ShardWriter
from vl.regions.importers.base import Imported


def import_shards(
    pictures: Iterable[Imported],
    out: str | Path,
    split: str,
    card: Card,
    images: str | Path | None = None,
    max_count: int = 1000,
) -> Card:
    """Write shards of a split, and the card.

    Args:
        pictures: from an importer.
        out: the folder of the output.
        split: its name; shards are called `split-000000.tar` and so on.
        card: what is known of the features, without shards.
        images: a folder with the pictures, named by their ids; None leaves them out.
        max_count: pictures of a shard.

    Raises:
        ValueError: a picture is malformed, comes twice, or is not among the images.
    """
    with ShardWriter(out, split, max_count=max_count) as writer:
        for picture in pictures:
            members: dict[str, bytes | Mapping] = {"regions.safetensors": write_regions(picture.regions)}
            height, width = picture.size or (None, None)
            record = {"width": width, "height": height, "tags": picture.tags, "source": picture.key}
            members["json"] = {name: value for name, value in record.items() if value}
            if images is not None:
                found = _image(Path(images), picture.key)
                members[found.suffix[1:].lower()] = found.read_bytes()
            # A dot ends a key in a tar; the id as it was stands in the record.
            writer.write(re.sub(r"[^\w/-]", "_", picture.key), members)
    done = Card(**{**{name: getattr(card, name) for name in card.__struct_fields__}, "shards": tuple(writer.shards)})
    write_card(out, done)
    return done


def _image(folder: Path, key: str) -> Path:
    names = [folder / f"{key}.{kind}" for kind in IMAGE_MEMBERS] + [folder / key]
    for name in names:
        if name.is_file():
            return name
    raise ValueError(f"no picture of {key} in {folder}: looked for {', '.join(name.name for name in names)}")
