"""Pools to mine in: an example with its own text and picture, and many that it does not match."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from vl.data.negatives import Other, mismatches
from vl.data.sample import Record
from vl.data.views.base import Example
from vl.draw import Draw


@dataclass(frozen=True)
class Pool:
    """Every example is given texts or pictures of other samples, each in a row of the batch; the first is its own.

    The others are drawn over the whole source, no sample twice, and are as false of the picture as those of
    `Negatives`: a pure function of the example's draw and the source, at any number of ranks.

    Args:
        size: how many others; UNITER mines in 399.
        swap: what they are of. UNITER trains both, from a source each.

    Raises:
        ValueError: there are no others.
    """

    size: int
    swap: Literal["text", "picture"] = "text"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"the size of a pool is {self.size}; it takes at least one other {self.swap}")

    def apply(self, example: Example, record: Record, draw: Draw, others: Iterable[Other]) -> Example:
        """The example with all of its texts or pictures, which `matched` tells apart.

        Args:
            example: made of a sample.
            record: of that sample.
            draw: the example's numbers, one row; the others are in their order already.
            others: records of other samples in the order to try them, each with a way to make its example.

        Raises:
            ValueError: fewer samples than asked for are false of it.
        """
        pool = list(islice(mismatches(example, record, others, self.swap), self.size))
        if len(pool) < self.size:
            raise ValueError(
                f"sample {example.key}: only {len(pool)} other samples have a {self.swap} that does not match; "
                f"the pool wants {self.size}"
            )
        rows = (example, *pool)
        matched = (True, *(False,) * self.size)
        if self.swap == "picture":
            return replace(example, images=tuple(image for one in rows for image in one.images), matched=matched)
        texts: Any = tuple(one.text for one in rows)
        languages: Any = tuple(one.language for one in rows)
        return replace(example, text=None, texts=texts, language=languages, matched=matched)
