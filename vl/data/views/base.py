"""What a view is: how one sample of a shard becomes its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vl.data.regions_member import Regions
from vl.data.sample import IMAGE_MEMBERS, TEXT_MEMBERS, Record, Sample
from vl.draw import Draw


@dataclass(frozen=True)
class Example:
    """One example: its texts and pictures before tokenizing and decoding.

    `text` is one text or a pair of them, None where the view reads none; `language` indexes
    `vl.data.sample.LANGUAGES`. `images` holds encoded bytes until the image stage turns them into uint8 (3, h, w), or
    the pictures' regions. `matched` says whether text and picture belong together, None where nobody asks.
    `targets` is what the task's loss and metric read: numbers and tensors are stacked, anything else is kept as it is.
    `texts` are several texts in place of the one, each of which meets the example's pictures in a row of its own;
    they may have languages and matches of their own.
    """

    key: str
    text: str | tuple[str, str] | None = None
    language: int | tuple[int, ...] = -1
    images: tuple[bytes | Tensor | Regions, ...] = ()
    targets: Mapping[str, Any] = field(default_factory=dict)
    matched: bool | tuple[bool, ...] | None = None
    texts: tuple[str | tuple[str, str], ...] = ()


class View:
    """Turns a sample into examples; its constructor arguments are its whole configuration.

    `members` names the members of a sample (as in `Sample.members`) that the view reads: nothing else is read from
    the shard. The index calls `count` once for a sample, the loader `example` with 0 <= inner < count.
    """

    members: frozenset[str] = frozenset((*IMAGE_MEMBERS, *TEXT_MEMBERS))

    def count(self, record: Record) -> int:
        """The number of examples of a sample."""
        raise NotImplementedError

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        """The examples of a shard, from what its card counts (`samples`, `captions`, `qa`, ...); None if it can't tell.

        An estimate may be too high (the ids too many count as bad members), never too low.
        """
        return None

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        """For each example, every text it can show: length buckets sort by the longest."""
        raise NotImplementedError

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        """Example number `inner` of a sample; random only through `draw`, which has one row.

        Raises:
            ValueError: the sample's record is malformed, or a member the view needs is missing.
        """
        raise NotImplementedError

    def unread(self, sample: Sample, inner: int, draw: Draw) -> Example:
        """`example`, whose pictures may still be bytes: for who wants its text alone."""
        return self.example(sample, inner, draw)


def picture(sample: Sample) -> bytes:
    """The picture of a sample.

    Raises:
        ValueError: it has none; names the key and the members it could be.
    """
    data = sample.image()
    if data is None:
        raise ValueError(f"sample {sample.key} has no picture (one of the members {', '.join(IMAGE_MEMBERS)})")
    return data
