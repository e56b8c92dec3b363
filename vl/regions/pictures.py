"""Pictures out of shards: every picture of a sample, with the objects its record names."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import torch

from vl.data.sample import IMAGE_MEMBERS, Object
from vl.data.stages import BadMember, ImageStage, Squash
from vl.data.tar import samples
from vl.regions.extractor import Picture

_WHOLE = ImageStage(1, Squash(), oversample=math.inf)


class _Side(msgspec.Struct):
    objects: tuple[Object, ...] = ()


class _Objects(msgspec.Struct):
    """What a record says of its picture, or of the two of a pair."""

    objects: tuple[Object, ...] = ()
    left: _Side = msgspec.field(default_factory=_Side)
    right: _Side = msgspec.field(default_factory=_Side)

    def of(self, prefix: str) -> tuple[Object, ...]:
        return {"": self.objects, "left.": self.left.objects, "right.": self.right.objects}.get(prefix, ())


def read_shard(path: str | Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a shard: key and the bytes of each member.

    Raises:
        ValueError: the shard is damaged; see `vl.data.tar`.
    """
    with open(path, "rb") as file:
        for key, members in samples(file.fileno(), str(path)):
            yield key, {name: os.pread(file.fileno(), size, offset) for name, (_, offset, size) in members.items()}


def pictures_of(key: str, members: Mapping[str, bytes]) -> dict[str, Picture]:
    """The pictures of a sample by what stands before `jpg` in the names of their members: "", or "left." and "right.".

    Raises:
        BadMember: a picture cannot be read.
        ValueError: the record is malformed.
    """
    try:
        known = msgspec.json.decode(members.get("json", b"{}"), type=_Objects)
    except msgspec.MsgspecError as error:
        raise ValueError(f"sample {key}: {error}") from error
    found = {}
    for name, data in members.items():
        prefix, kind = name[: name.rfind(".") + 1], name.rpartition(".")[2]
        if kind in IMAGE_MEMBERS and prefix not in found:
            found[prefix] = Picture(f"{key}.{prefix}", _decode(data, key), known.of(prefix))
    return found


def _decode(data: bytes, key: str) -> torch.Tensor:
    try:
        return torch.from_numpy(_WHOLE.decode(data)).permute(2, 0, 1)
    except BadMember as error:
        raise BadMember(str(error), key) from error


def groups(shards: Sequence[str], limit: int, size: int = 16) -> Iterator[list[Picture]]:
    """The first pictures of some shards, as many from each, in groups of `size`; unreadable ones are left out."""
    waiting: list[Picture] = []
    for shard in shards:
        for number, (key, members) in enumerate(read_shard(shard)):
            if number >= -(-limit // len(shards)):
                break
            try:
                waiting += pictures_of(key, members).values()
            except ValueError:
                continue
            while len(waiting) >= size:
                yield waiting[:size]
                waiting = waiting[size:]
    if waiting:
        yield waiting
