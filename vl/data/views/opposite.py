"""True captions beside false ones that lie next to them: what a model does not understand, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from vl.data.sample import Caption, Opposite, Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class OppositeView(View):
    """Every opposite of a caption makes two examples: the caption (`matched`), then the opposite.

    Targets are `kind` and `language`, by code.

    Args:
        languages: Language codes to keep; None keeps all.
        kinds: Kinds of opposites to keep (object, attribute, count, relation, exchange); None keeps all.
    """

    languages: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None

    def count(self, record: Record) -> int:
        return 2 * len(self._opposites(record))

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        pairs = map(partial(_pair, record), self._opposites(record))
        return [(text.text,) for pair in pairs for text in pair]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        record = sample.record
        opposite = self._opposites(record)[inner // 2]
        text = _pair(record, opposite)[inner % 2]
        targets = {"kind": opposite.kind, "language": opposite.language}
        language = language_index(opposite.language)
        return Example(sample.key, text.text, language, (picture(sample),), targets, matched=inner % 2 == 0)

    def _opposites(self, record: Record) -> list[Opposite]:
        return [
            opposite
            for opposite in record.opposites
            if opposite.of.startswith("captions/")
            and (self.languages is None or opposite.language in self.languages)
            and (self.kinds is None or opposite.kind in self.kinds)
        ]


def _pair(record: Record, opposite: Opposite) -> tuple[Caption, Opposite]:
    return record.captions[int(opposite.of.partition("/")[2])], opposite
