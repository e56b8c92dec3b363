"""Referring expressions (RefCOCO): every expression of a picture is an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from vl.data.sample import Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class ExpressionView(View):
    """An example is a picture with an expression; its targets are `id`, `box` (xyxy in 0..1), `size` and `type`.

    `size` is (width, height) in pixels, (1, 1) where the record does not know it.
    """

    def count(self, record: Record) -> int:
        return len(record.expressions)

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return counts.get("expressions")

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [(one.text,) for one in record.expressions]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        record = sample.record
        one = record.expressions[inner]
        size = torch.tensor([record.width or 1, record.height or 1])
        targets = {"id": one.id, "box": torch.tensor(one.box), "size": size, "type": one.type}
        return Example(sample.key, one.text, language_index(one.language), (picture(sample),), targets)
