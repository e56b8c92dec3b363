"""Pictures with two of their captions: VisualBERT's pretraining, whose second caption may be another picture's."""

from __future__ import annotations

from dataclasses import dataclass

from vl.data.sample import Caption, Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class CaptionPairView(View):
    """An example is a picture with a pair of its captions in one language, drawn anew in every epoch.

    A sample makes as many examples as it has languages with two captions.

    Args:
        languages: Language codes to keep; None keeps all.
    """

    languages: tuple[str, ...] | None = None

    def count(self, record: Record) -> int:
        return len(self._groups(record))

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        # The longest pair is that of the two longest captions; one text stands for it.
        longest = (sorted((one.text for one in group), key=len)[-2:] for group in self._groups(record))
        return [(" ".join(pair),) for pair in longest]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        groups = self._groups(sample.record)
        if inner >= len(groups):
            raise ValueError(f"sample {sample.key} has no pair of captions number {inner}")
        first, second = draw.fold("captions").bits(len(groups[inner]))[0].argsort()[:2].tolist()
        pair = groups[inner][first].text, groups[inner][second].text
        return Example(sample.key, pair, language_index(groups[inner][0].language), (picture(sample),))

    def _groups(self, record: Record) -> list[list[Caption]]:
        """The captions of each language that has two."""
        groups: dict[str, list[Caption]] = {}
        for caption in record.captions:
            if self.languages is None or caption.language in self.languages:
                groups.setdefault(caption.language, []).append(caption)
        return [group for group in groups.values() if len(group) > 1]
