"""Pictures with captions: one caption an image and epoch for training, every caption for evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vl.data.opposites import opposites, sentences
from vl.data.sample import Caption, Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class CaptionView(View):
    """An example is a picture with one of its captions.

    Args:
        languages: Language codes to keep; None keeps all. A sample without a caption in them has no example.
        choose: `one` makes one example an image and draws its caption anew in every epoch; `all` makes every caption
            an example, as evaluation wants it; `first` is `one` among the first caption of each language.
        opposites: Captions alone that have a stored opposite of one of these kinds (relation, count, ...), for who
            wants to learn what is rarely told; None keeps all.
        sentences: Each sentence is a caption of its own.
    """

    languages: tuple[str, ...] | None = None
    choose: Literal["one", "all", "first"] = "one"
    opposites: tuple[str, ...] | None = None
    sentences: bool = False

    def count(self, record: Record) -> int:
        number = len(self._captions(record))
        return number if self.choose == "all" else min(number, 1)

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        if self.languages is not None or self.opposites is not None or self.sentences:
            return None
        return counts.get("captions") if self.choose == "all" else counts["samples"]

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        texts = tuple(caption.text for caption in self._captions(record))
        return [(text,) for text in texts] if self.choose == "all" else [texts][: len(texts)]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        text, language = self.choose_caption(sample, inner, draw)
        return Example(sample.key, text, language, (picture(sample),))

    def choose_caption(self, sample: Sample, inner: int, draw: Draw) -> tuple[str, int]:
        """The text of example number `inner`, and the index of its language."""
        captions = self._captions(sample.record)
        if self.choose != "all" and len(captions) > 1:
            inner = int(draw.fold("caption").integers(len(captions)))
        if inner >= len(captions):
            raise ValueError(f"sample {sample.key} has no caption number {inner} in {self.languages or 'any language'}")
        return captions[inner].text, language_index(captions[inner].language)

    def _captions(self, record: Record) -> tuple[Caption, ...]:
        spoken: Iterable[Caption] = record.captions
        if self.languages is not None:
            spoken = (c for c in spoken if c.language in self.languages)
        if self.sentences:
            spoken = (Caption(text, c.language) for c in spoken for text in sentences(c.text))
        if self.opposites is not None:
            told = {text for text, *_ in opposites(record, self.opposites)}
            spoken = (c for c in spoken if c.text in told)
        if self.choose == "first":
            # Of equal keys a dictionary keeps the last.
            return tuple({caption.language: caption for caption in reversed(list(spoken))}.values())[::-1]
        return tuple(spoken)
