"""Questions about pictures: every question of a sample is an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mode

from vl.data.sample import Question, Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class QAView(View):
    """An example is a picture with one question; its targets are `id`, `answers` and `type`.

    Args:
        languages: Language codes to keep; None keeps all.
        answered: The text is the question and its most frequent answer: what a second stage of pretraining masks
            (VisualBERT, arXiv:1908.03557, section 3.3). Questions without answers are left out.
    """

    languages: tuple[str, ...] | None = None
    answered: bool = False

    def count(self, record: Record) -> int:
        return len(self._questions(record))

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return counts.get("qa") if self.languages is None and not self.answered else None

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        texts = map(self._text, self._questions(record))
        return [(" ".join(text) if isinstance(text, tuple) else text,) for text in texts]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        questions = self._questions(sample.record)
        if inner >= len(questions):
            raise ValueError(f"sample {sample.key} has no question number {inner}")
        asked = questions[inner]
        targets = {"id": asked.id, "answers": asked.answers, "type": asked.type}
        return Example(sample.key, self._text(asked), language_index(asked.language), (picture(sample),), targets)

    def _text(self, asked: Question) -> str | tuple[str, str]:
        return (asked.question, mode(asked.answers)) if self.answered else asked.question

    def _questions(self, record: Record) -> tuple[Question, ...]:
        return tuple(
            question
            for question in record.qa
            if (self.languages is None or question.language in self.languages)
            and (question.answers or not self.answered)
        )
