"""A closed list of answers, and what people said in terms of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vl.metrics.vqa_accuracy import soft_labels


class AnswerTable:
    """The answers a classifier can give: a JSON list, as `tools/list_answers.py` makes it.

    Args:
        file: its path.
        size: classes of the head, which the list must not exceed.

    Raises:
        ValueError: the file is missing or no list of texts, or holds more answers than the head has classes.
    """

    def __init__(self, file: str, size: int) -> None:
        if not Path(file).is_file():
            raise ValueError(f"there is no list of answers {file}; tools/list_answers.py makes one of shards")
        self.answers = json.loads(Path(file).read_text(encoding="utf-8"))
        if not isinstance(self.answers, list) or not all(isinstance(answer, str) for answer in self.answers):
            raise ValueError(f"{file} is not a JSON list of answers")
        if len(self.answers) > size:
            raise ValueError(f"{file} holds {len(self.answers):,} answers, more than `answers`, {size:,}")
        self.size = size
        self.index = {answer: number for number, answer in enumerate(self.answers)}

    def targets(self, people: Sequence[Sequence[str]]) -> Float[Tensor, "b c"]:
        """The soft label of each answer: 0.3, 0.6, 0.9 and 1 for one, two, three and more of ten people who gave it.

        Answers that the list lacks are left out, so that a row may be zero.
        """
        targets = torch.zeros(len(people), self.size)
        for row, given in enumerate(people):
            for answer, score in soft_labels(given).items():
                if (place := self.index.get(answer)) is not None:
                    targets[row, place] = score
        return targets
