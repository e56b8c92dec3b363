"""Questions in pretraining: LXMERT, arXiv:1908.07490, section 3.1.3 ("Image Question Answering")."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from vl.batch import Batch, Encoded, Loss
from vl.draw import Draw
from vl.losses.masked import cross_entropy, hits
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead
from vl.objectives.base import Objective
from vl.objectives.mlm import IGNORED


class AnswerPretraining(Objective):
    """Cross-entropy of one answer of a table, drawn among those that annotators gave.

    Not scored where the question is another picture's, where no answer is in the table, or where there is no question.
    The paper adds this objective for the last half of training only; the released recipe has it from the start.

    Args:
        file: JSON list of the table's answers.
        answers: classes of the head, which the table must not exceed.
    """

    needs = frozenset({"pooled"})

    def __init__(self, file: str, answers: int = 9500) -> None:
        super().__init__()
        self.file, self.answers = file, answers

    def setup(self, model: VLModel) -> None:
        self.head = ClassHead(model.pooled_width, self.answers, hidden=2 * model.pooled_width)

    @cached_property
    def table(self) -> dict[str, int]:
        """Answer -> class.

        Raises:
            ValueError: the file is missing, or holds more answers than the head has classes.
        """
        if not Path(self.file).is_file():
            raise ValueError(f"there is no table of answers {self.file}; give the path of a JSON list")
        answers = json.loads(Path(self.file).read_text())
        if len(answers) > self.answers:
            raise ValueError(f"{self.file} holds {len(answers):,} answers, more than `answers`, {self.answers:,}")
        return {answer: index for index, answer in enumerate(answers)}

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Int[Tensor, " b"]]:
        """The batch as it is, and the class of each example's answer, `IGNORED` for none."""
        given = batch.targets.get("answers", [()] * len(batch))
        known = [[self.table[answer] for answer in answers if answer in self.table] for answers in given]
        coins = draw.uniform(1).squeeze(1).tolist()
        drawn = [row[int(coin * len(row))] if row else IGNORED for row, coin in zip(known, coins, strict=True)]
        return batch, torch.tensor(drawn, device=draw.examples.device)

    def forward(self, output: Encoded, batch: Batch, target: Int[Tensor, " b"]) -> Loss:
        scored = target != IGNORED
        if batch.matched is not None:
            scored = scored & batch.matched
        labels, logits = target[scored], self.head(output.pooled[scored])
        count = torch.tensor(len(labels), device=labels.device)
        return Loss(cross_entropy(logits, labels).sum(), count, {"accuracy": (hits(logits, labels), count)})
