"""Visual entailment: SNLI-VE, arXiv:1901.06706."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch, Encoded
from vl.data.views.entailment import LABELS
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead
from vl.tasks.classification import Classification


class SnliVE(Classification):
    """Three classes by UNITER's head; the picture alone is the premise (`EntailmentView`)."""

    needs = frozenset({"pooled"})

    def setup(self, model: VLModel) -> None:
        self.head = ClassHead(model.pooled_width, len(LABELS), hidden=2 * model.pooled_width)

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b 3"]:
        return self.head(output.pooled)

    def submitted(self, name: str, chosen: int) -> dict[str, Any]:
        return {"pairID": name, "label": LABELS[chosen]}
