"""Questions about pictures: every question of a sample is an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vl.data.sample import Question, Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class QAView(View):
    """An example is a picture with one question; its targets are `id`, `answers` and `type`.

    Args:
        languages: Language codes to keep; None keeps all.
    """

    languages: tuple[str, ...] | None = None

    def count(self, record: Record) -> int:
        return len(self._questions(record))

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return counts.get("qa") if self.languages is None else None

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [(question.question,) for question in self._questions(record)]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        questions = self._questions(sample.record)
        if inner >= len(questions):
            raise ValueError(f"sample {sample.key} has no question number {inner}")
        asked = questions[inner]
        targets = {"id": asked.id, "answers": asked.answers, "type": asked.type}
        return Example(sample.key, asked.question, language_index(asked.language), (picture(sample),), targets)

    def _questions(self, record: Record) -> tuple[Question, ...]:
        if self.languages is None:
            return record.qa
        return tuple(question for question in record.qa if question.language in self.languages)
