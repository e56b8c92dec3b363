"""Is a statement true of two pictures? NLVR2, arXiv:1811.00491; the pair form of LXMERT, UNITER and 12-in-1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Batch, Encoded
from vl.models.base import VLModel
from vl.models.heads_masked import ClassHead
from vl.tasks.classification import Classification


class NLVR2(Classification):
    """The statement is read with each picture; the two pooled vectors side by side are classified (`StatementView`)."""

    needs = frozenset({"pooled"})

    def setup(self, model: VLModel) -> None:
        self.head: nn.Module = ClassHead(2 * model.pooled_width, 2)

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b 2"]:
        return self.head(output.pooled.view(len(batch), -1))

    def submitted(self, name: str, chosen: int) -> dict[str, Any]:
        return {"identifier": name, "prediction": bool(chosen)}

    def submission(self, answers: Sequence[Mapping[str, Any]]) -> str:
        """Lines `identifier,true`."""
        return "".join(f"{one['identifier']},{str(one['prediction']).lower()}\n" for one in answers)
