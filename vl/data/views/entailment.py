"""Visual entailment (SNLI-VE): every hypothesis of a picture is an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vl.data.sample import Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw

#: The classes, in the order of their numbers.
LABELS = ("contradiction", "neutral", "entailment")


@dataclass(frozen=True)
class EntailmentView(View):
    """An example is a picture with a hypothesis; its targets are `id`, `label` (an index of `LABELS`) and `type`.

    The picture alone is the premise.
    """

    def count(self, record: Record) -> int:
        return len(record.entailment)

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return counts.get("entailment")

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [(one.hypothesis,) for one in record.entailment]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        one = sample.record.entailment[inner]
        if one.label not in LABELS:
            raise ValueError(f"sample {sample.key}: the label {one.label!r} is not one of {', '.join(LABELS)}")
        targets = {"id": one.id, "label": LABELS.index(one.label), "type": one.type}
        return Example(sample.key, one.hypothesis, language_index(one.language), (picture(sample),), targets)
