"""Visual question answering over a closed list of answers: VQA v2, easy-VQA, Visual Genome's questions.

UNITER, arXiv:1909.11740, section A.2; LXMERT, arXiv:1908.07490, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Batch, Encoded, Loss
from vl.draw import Draw
from vl.metrics.by_type import MeanByType
from vl.metrics.vqa_accuracy import vqa_accuracy
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead
from vl.tasks.answers import AnswerTable
from vl.tasks.base import Task


class VQA(Task):
    """Binary cross-entropy of every answer against its soft label, summed over the answers.

    Released codes take the mean over answers and multiply by their number, which is the same. The head is LXMERT's and
    UNITER's: to twice the width, GELU, LayerNorm, answers.

    Args:
        file: JSON list of the answers.
        answers: classes of the head, which the list must not exceed.
    """

    needs = frozenset({"pooled"})

    def __init__(self, file: str, answers: int = 3129) -> None:
        super().__init__()
        self.file, self.answers = file, answers

    def setup(self, model: VLModel) -> None:
        self.head: nn.Module = ClassHead(model.pooled_width, self.answers, hidden=2 * model.pooled_width)
        self.metric = MeanByType("accuracy")

    @cached_property
    def table(self) -> AnswerTable:
        return AnswerTable(self.file, self.answers)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Float[Tensor, "b c"]]:
        """The batch as it is, and the soft labels."""
        return batch, self.table.targets(batch.targets["answers"]).to(draw.examples.device)

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b c"]:
        """Of every answer."""
        return self.head(output.pooled)

    def forward(self, output: Encoded, batch: Batch, target: Float[Tensor, "b c"]) -> Loss:
        logits = self.logits(output, batch).float()
        count = torch.tensor(len(logits), device=logits.device)
        soft_score = target.gather(1, logits.argmax(1, keepdim=True)).sum()
        return Loss(self.loss(logits, target), count, {"soft_score": (soft_score, count)})

    def loss(self, logits: Float[Tensor, "b c"], target: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
        """The sum over examples."""
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum")

    def answer(self, output: Encoded, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The submission's fields, and the accuracy and type of each question."""
        best = self.logits(output, batch)[:, : len(self.table.answers)].argmax(1).tolist()
        ids, people, types = (batch.targets[name] for name in ("id", "answers", "type"))
        return [
            self.judged(name, self.table.answers[place], given) | {"type": kind}
            for name, place, given, kind in zip(ids, best, people, types, strict=True)
        ]

    def judged(self, name: str, answer: str, people: Sequence[str]) -> dict[str, Any]:
        """One answer in the submission's form; scored where people's answers are known."""
        number = int(name) if name.isdigit() else name  # VQA's are numbers
        score = {"accuracy": vqa_accuracy(answer, people)} if people else {}
        return {"question_id": number, "answer": answer} | score
