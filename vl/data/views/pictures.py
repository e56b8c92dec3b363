"""Pictures alone: what an image tokenizer is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vl.data.sample import IMAGE_MEMBERS, Record, Sample
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class PictureView(View):
    """An example is a sample's picture; its captions are not read."""

    members = frozenset(IMAGE_MEMBERS)

    def count(self, record: Record) -> int:
        return 1

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return counts.get("samples")

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [()]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        return Example(sample.key, images=(picture(sample),))
