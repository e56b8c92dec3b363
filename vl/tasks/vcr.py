"""Visual commonsense reasoning: VCR, arXiv:1811.10830, one of four answers and one of four rationales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Loss
from vl.metrics.vcr import VcrAccuracy
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.tasks.classification import Classification


class VCR(Classification):
    """One score a choice, cross-entropy over the choices, as in ViLBERT and VisualBERT (`ChoicesView`)."""

    needs = frozenset({"pooled"})

    def __init__(self) -> None:
        super().__init__()
        self.metric = VcrAccuracy()

    def setup(self, model: VLModel) -> None:
        self.head: nn.Module = nn.Linear(model.pooled_width, 1)
        init_weights(self.head, model.pooled_width)

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b c"]:
        return self.head(output.pooled).view(len(batch), -1)

    def answer(self, output: Encoded, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The probabilities of the choices of each question or rationale, and whether the best is right."""
        probs = self.logits(output, batch).float().softmax(1)
        right = (probs.argmax(1) == batch.targets["label"]).float().tolist()
        rows = zip(batch.targets["id"], batch.targets["subtask"], probs.tolist(), right, strict=True)
        return [{"annot_id": name, "subtask": part, "probs": row, "accuracy": hit} for name, part, row, hit in rows]

    def submission(self, answers: Sequence[Mapping[str, Any]]) -> str:
        """The leaderboard's CSV. Rationales were asked for the right answer alone: their probabilities stand for every
        answer, so that the file is right where answers are known, as on val."""
        probs = {(one["annot_id"], one["subtask"]): one["probs"] for one in answers}
        header = ["annot_id", *(f"answer_{i}" for i in range(4))]
        header += [f"rationale_conditioned_on_a{answer}_{i}" for answer in range(4) for i in range(4)]
        lines = [",".join(header)]
        for name in dict.fromkeys(name for name, part in probs if part == "answer"):
            row = [*probs[name, "answer"], *(probs.get((name, "rationale"), [0.25] * 4) * 4)]
            lines.append(",".join([name, *(f"{prob:.6g}" for prob in row)]))
        return "\n".join(lines) + "\n"


class BinaryVCR(VCR):
    """Each choice alone is right or wrong, as in UNITER and B2T2; its score is the log-odds of being right."""

    def setup(self, model: VLModel) -> None:
        width = model.pooled_width
        self.head = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.LayerNorm(2 * width, eps=1e-12), nn.Linear(2 * width, 2)
        )
        init_weights(self.head, width)

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b c"]:
        wrong, right = self.head(output.pooled).float().unbind(1)
        return (right - wrong).view(len(batch), -1)

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        """The mean loss of a choice, summed over examples; of log-odds, cross-entropy of two classes is a softplus."""
        odds, labels = self.logits(output, batch), batch.targets["label"]
        signs = torch.full_like(odds, -1).scatter(1, labels[:, None], 1.0)
        count = torch.tensor(len(labels), device=labels.device)
        right = (odds.argmax(1) == labels).sum().float()
        return Loss(nn.functional.softplus(-signs * odds).mean(1).sum(), count, {"accuracy": (right, count)})
