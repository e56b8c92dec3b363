"""The card of a data set: `dataset.json` beside its shards says what they hold and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

CARD = "dataset.json"


class Shard(msgspec.Struct, frozen=True):
    """One shard: `counts` holds the samples and the items of each list of their records (captions, qa, ...)."""

    file: str
    split: str
    bytes: int | None
    sha256: str
    counts: Mapping[str, int]


class Card(msgspec.Struct, frozen=True):
    """What a user must know before training on a data set.

    `splits` says in a sentence what each split is for; `settings` holds whatever decides the content of the
    shards (size of the pictures, seed of the split, versions of the sources), for regions also detector, colour
    order, box convention, non-maximum suppression and class vocabulary.
    """

    name: str
    source: str
    licence: str
    splits: Mapping[str, str]
    languages: tuple[str, ...] = ()
    settings: Mapping[str, object] = {}
    shards: tuple[Shard, ...] = ()
    schema: int = 1

    def files(self, split: str) -> list[str]:
        """The names of a split's shards."""
        return [shard.file for shard in self.shards if shard.split == split]

    def count(self, split: str, of: str = "samples") -> int:
        """How many samples, captions, qa, ... a split holds."""
        return sum(shard.counts.get(of, 0) for shard in self.shards if shard.split == split)


def parse_card(data: bytes, place: str) -> Card:
    """The card in `data`; `place` names it in the error.

    Raises:
        ValueError: not a card of schema 1; names the place and the field.
    """
    try:
        card = msgspec.json.decode(data, type=Card)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{place} is not a card of a data set: {error}") from error
    if card.schema != 1:
        raise ValueError(f"{place} has schema {card.schema}; this version reads schema 1")
    return card


def read_card(folder: str | Path) -> Card | None:
    """The card of the shards in a folder, None when they have none."""
    path = Path(folder) / CARD
    return parse_card(path.read_bytes(), str(path)) if path.is_file() else None


def write_card(folder: str | Path, card: Card) -> None:
    """Put a card beside its shards, whole or not at all."""
    path = Path(folder) / CARD
    temporary = path.with_name(f".{CARD}.tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    temporary.replace(path)


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_shards(folder: str | Path, card: Card, checksums: bool = True) -> list[str]:
    """What is wrong with the shards of a card, one sentence each: missing, another size, another sha256."""
    return [problem for shard in card.shards if (problem := _problem(Path(folder) / shard.file, shard, checksums))]


def _problem(path: Path, shard: Shard, checksums: bool) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    if (size := path.stat().st_size) != shard.bytes:
        return f"{path} holds {size:,} bytes, its card says {shard.bytes:,}"
    if checksums and sha256(path) != shard.sha256:
        return f"{path} has another sha256 than its card"
    return None
