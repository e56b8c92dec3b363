"""Questions with choices (VCR): every question, and the rationale of its answer, is an example of four texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vl.data.sample import Choice, Record, Sample, language_index
from vl.data.views.base import Example, View, picture
from vl.draw import Draw


@dataclass(frozen=True)
class ChoicesView(View):
    """An example is a picture with one text a choice: question and answer, or question with its right answer and
    rationale. Its targets are `id`, `label`, `type` and `subtask` ("answer" or "rationale").

    Args:
        subtasks: which are examples; the published models train both together.
        answered: the text is the right choice alone: what a second stage of pretraining masks (VisualBERT,
            arXiv:1908.03557, section 3.3; UNITER, arXiv:1909.11740, section 4.2).
    """

    subtasks: Literal["answer", "rationale", "both"] = "both"
    answered: bool = False

    def count(self, record: Record) -> int:
        return len(self._asked(record))

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return counts.get("choices", 0) * (2 if self.subtasks == "both" else 1)

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return [tuple(" ".join(text) for text in self._texts(*asked)) for asked in self._asked(record)]

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        one, subtask = self._asked(sample.record)[inner]
        label = one.label if subtask == "answer" else one.rationale_label
        targets = {"id": one.id, "label": label, "type": one.type, "subtask": subtask}
        texts, language = self._texts(one, subtask), language_index(one.language)
        if self.answered:
            return Example(sample.key, texts[0], language, (picture(sample),), targets)
        return Example(sample.key, None, language, (picture(sample),), targets, texts=texts)

    def _texts(self, one: Choice, subtask: str) -> tuple[tuple[str, str], ...]:
        texts = segments(one, subtask)
        right = one.label if subtask == "answer" else one.rationale_label
        return texts[right : right + 1] if self.answered else texts

    def _asked(self, record: Record) -> list[tuple[Choice, str]]:
        """Each question with each of its subtasks."""
        wanted = ("answer", "rationale") if self.subtasks == "both" else (self.subtasks,)
        return [(one, task) for one in record.choices for task in wanted if task == "answer" or one.rationales]


def segments(one: Choice, subtask: str) -> tuple[tuple[str, str], ...]:
    """The pairs of segments to choose from."""
    if subtask == "answer":
        return tuple((one.question, choice) for choice in one.choices)
    return tuple((f"{one.question} {one.choices[one.label]}", rationale) for rationale in one.rationales)
