"""Pictures to be captioned: one of their captions to learn from, all of them to be judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vl.data.sample import Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class CaptioningView(View):
    """An example is a picture with one of its captions, drawn anew in every epoch; its targets are `id` (the sample's
    key), `captions` (all of them) and `language`.

    Args:
        language: of the captions; a sample without one in it has no example.
    """

    language: str = "en"

    def count(self, record: Record) -> int:
        return min(1, len(self._captions(record)))

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return None

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [self._captions(record)] if self.count(record) else []

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        captions = self._captions(sample.record)
        chosen = captions[int(draw.fold("caption").integers(len(captions)))]
        targets = {"id": sample.key, "captions": captions, "language": self.language}
        return Example(sample.key, chosen, language_index(self.language), (picture(sample),), targets)

    def _captions(self, record: Record) -> tuple[str, ...]:
        return tuple(caption.text for caption in record.captions if caption.language == self.language)
