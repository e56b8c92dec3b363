"""Which rows of a batch an objective scores: texts and pictures may stand in several rows (`Batch.pairs`)."""

from __future__ import annotations

from jaxtyping import Bool, Shaped
from torch import Tensor

from vl.batch import Batch


def text_rows(x: Shaped[Tensor, "bt ..."], batch: Batch) -> Shaped[Tensor, "r ..."]:
    """What belongs to the texts of a batch, row by row."""
    return x if batch.pairs is None else x[batch.pairs[:, 0]]


def visual_rows(x: Shaped[Tensor, "bv ..."], batch: Batch) -> Shaped[Tensor, "r ..."]:
    """What belongs to the pictures of a batch, row by row."""
    return x if batch.pairs is None else x[batch.pairs[:, 1]]


def matching(rows: Bool[Tensor, "r l"], batch: Batch, matched_only: bool) -> Bool[Tensor, "r l"]:
    """`rows`, without those whose text and picture do not belong together if `matched_only`."""
    return rows & batch.matched[:, None] if matched_only and batch.matched is not None else rows
