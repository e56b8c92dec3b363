"""Statements about two pictures (NLVR2): every statement of a pair is an example with both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vl.data.sample import IMAGE_MEMBERS, TEXT_MEMBERS, Record, Sample, language_index
from vl.data.views.base import Example, View
from vl.draw import Draw

_SIDES = ("left", "right")


@dataclass(frozen=True)
class StatementView(View):
    """An example is a statement with left and right picture; its targets are `id`, `label` (1 for true) and `type`."""

    members = frozenset([*TEXT_MEMBERS, *(f"{side}.{kind}" for side in _SIDES for kind in IMAGE_MEMBERS)])

    def count(self, record: Record) -> int:
        return len(record.statements)

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return counts.get("statements")

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [(statement.text,) for statement in record.statements]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        said = sample.record.statements[inner]
        images = tuple(sample.image(side) for side in _SIDES)
        if None in images:
            raise ValueError(f"sample {sample.key} has no two pictures (members left.jpg and right.jpg, or the like)")
        targets = {"id": said.id, "label": int(said.label), "type": said.type}
        return Example(sample.key, said.text, language_index(said.language), images, targets)
