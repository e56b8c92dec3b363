"""Where a recipe finds its pictures: in folders, zip files or shards, by file name."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from vl.data.convert import Made, Missing
from vl.data.sample import IMAGE_MEMBERS, Record
from vl.data.shards import expand_shards, is_url
from vl.data.tar import samples

#: Reads a picture by its name; None if it is not there.
Find = Callable[[str], bytes | None]
_MEMBER_OF = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True)
class Pictures:
    """The pictures of a data set. It pickles as its places; each process opens them for itself.

    A picture is found by its path below a place, or else by its file name alone. In shards it is found by the `url` of
    its `json` (img2dataset, whose keys are numbers of its own), or where there is none by its key.

    Args:
        places: folders, .zip files and shards (.tar, braces and globs), searched in order.

    Raises:
        ValueError: a place does not exist; names it.
    """

    places: tuple[str, ...]

    def __post_init__(self) -> None:
        for place in self.places:
            if ".tar" in place:
                expand_shards(place)
            elif not os.path.exists(place):
                raise ValueError(f"there are no pictures at {place}: name a folder, a .zip file or shards (.tar)")

    def find(self, *names: str) -> bytes | None:
        """The bytes of the picture that has one of these names, None if no place has it."""
        found = (_open(place)(name) for name in names for place in self.places)
        return next((data for data in found if data is not None), None)


def picture_sample(
    key: str,
    pictures: Pictures,
    names: str | tuple[str, ...] | Mapping[str, str],
    record: Callable[[int, int], Record | Mapping],
) -> Made | Missing:
    """A sample of one picture, or of several (`{"left": name, "right": name}`), whose bytes stay as they are.

    A picture that is in no place, or is none that can be opened, makes the sample missing. A picture in a format that
    shards do not hold (gif, bmp) becomes a PNG.

    Args:
        key: the sample's key.
        pictures: where to look.
        names: the picture's name, or those it may have, or names by the prefix of their members.
        record: makes the record from the (last) picture's width and height.
    """
    members: dict[str, bytes | Record | Mapping] = {}
    width = height = 0
    for prefix, wanted in (names if isinstance(names, Mapping) else {"": names}).items():
        wanted = (wanted,) if isinstance(wanted, str) else wanted
        data, name = pictures.find(*wanted), wanted[0]
        if data is None:
            return Missing(name, "not found")
        try:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                member = _MEMBER_OF.get(image.format or "")
                if member is None:
                    png = io.BytesIO()
                    image.convert("RGB").save(png, "PNG")
                    member, data = "png", png.getvalue()
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            return Missing(name, f"cannot be opened: {error}")
        members[f"{prefix}.{member}" if prefix else member] = data
    return key, members | {"json": record(width, height)}


@lru_cache(maxsize=64)
def _open(place: str) -> Find:
    if ".tar" in place:
        return _in_shards(expand_shards(place))
    return _in_zip(place) if zipfile.is_zipfile(place) else _in_folder(Path(place))


def _in_folder(folder: Path) -> Find:
    def find(name: str) -> bytes | None:
        for path in (folder / name, folder / os.path.basename(name)) if not is_url(name) else ():
            if path.is_file():
                return path.read_bytes()
        return None

    return find


def _in_zip(path: str) -> Find:
    archive = zipfile.ZipFile(path)
    members = {os.path.basename(name): name for name in archive.namelist() if not name.endswith("/")}
    whole = set(members.values())

    def find(name: str) -> bytes | None:
        member = name if name in whole else members.get(os.path.basename(name))
        return None if member is None or is_url(name) else archive.read(member)

    return find


def _in_shards(paths: Sequence[str]) -> Find:
    """One pass over the headers (and the json members) of the shards; pictures are read where they lie."""
    files = {path: os.open(path, os.O_RDONLY) for path in paths}
    places: dict[str, tuple[int, int, int]] = {}
    for path, file in files.items():
        for key, members in samples(file, path):
            kind = next((kind for kind in IMAGE_MEMBERS if kind in members), None)
            if kind is None:
                continue
            record = members.get("json")
            url = record and _url(os.pread(file, record.size, record.offset))
            places[url or os.path.basename(key)] = (file, members[kind].offset, members[kind].size)

    def find(name: str) -> bytes | None:
        place = places.get(name if is_url(name) else os.path.splitext(os.path.basename(name))[0])
        return place and os.pread(place[0], place[2], place[1])

    return find


def _url(data: bytes) -> str | None:
    try:
        record = json.loads(data)
    except ValueError:
        return None
    return record.get("url") if isinstance(record, dict) else None
