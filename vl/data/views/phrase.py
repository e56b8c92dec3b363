"""Phrases and their boxes (Flickr30k Entities): every sentence whose phrases have boxes is an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from vl.data.sample import Grounding, Phrase, Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class PhraseView(View):
    """An example is a picture with a sentence; its targets are `id`, `phrases` (as in `Record`) and `size`.

    A record without such sentences gives its referring expressions, each of which is one phrase. `size` is (width,
    height) in pixels, (1, 1) where the record does not know it.
    """

    def count(self, record: Record) -> int:
        return len(self._sentences(record))

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        told, expressions = counts.get("groundings"), counts.get("expressions")
        return None if told and expressions else told or expressions  # of both: a record may have either

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [(one.text,) for one in self._sentences(record)]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        record = sample.record
        one = self._sentences(record)[inner]
        size = torch.tensor([record.width or 1, record.height or 1])
        targets = {"id": one.id, "phrases": one.phrases, "size": size}
        return Example(sample.key, one.text, language_index(one.language), (picture(sample),), targets)

    def _sentences(self, record: Record) -> tuple[Grounding, ...]:
        told = tuple(one for one in record.groundings if one.phrases)
        wholes = [(one, Phrase(one.id, one.text, len(one.text), (one.box,), one.type)) for one in record.expressions]
        return told or tuple(Grounding(one.id, one.text, (whole,), one.language) for one, whole in wholes)
