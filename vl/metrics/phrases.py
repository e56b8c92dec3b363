"""Phrase grounding: is a box that the phrase means among the first ones? Flickr30k Entities, arXiv:1505.04870.

A box is right if it overlaps any of the phrase's boxes by one half or more, as in BAN (arXiv:1805.07932, section 5)
and VisualBERT; others ask for the box around them all, which is other figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch
from vl.metrics.by_type import MeanByType
from vl.metrics.grounding import iou

KS = (1, 5, 10)
#: The least overlap of a right box.
LEAST = 0.5
FIELDS = (*(f"R@{k}" for k in KS), "upper_bound", "pointing")


def phrase_scores(ranked: Float[Tensor, "n 4"], right: Float[Tensor, "k 4"]) -> dict[str, float]:
    """What the boxes for one phrase, the best first, are worth: each of `FIELDS`, 0 or 1.

    `upper_bound` says whether any of them is right, `pointing` whether the first one's centre lies in a right box.

    Args:
        ranked: (x1, y1, x2, y2) in any unit; n may be 0.
        right: The phrase's boxes, in the same unit.
    """
    if not len(ranked):
        return dict.fromkeys(FIELDS, 0.0)
    hits = (iou(ranked[:, None], right) >= LEAST).any(1)
    centre = ranked[:1].unflatten(1, (2, 2)).mean(1)
    inside = (right[:, :2] <= centre) & (centre <= right[:, 2:])
    scores = {f"R@{k}": float(hits[:k].any()) for k in KS}
    return scores | {"upper_bound": float(hits.any()), "pointing": float(inside.all(1).any())}


class PhraseMeans(MeanByType):
    """Means of `FIELDS` over all phrases and of each type, in percent; an answer lists the `phrases` of a sentence."""

    def __init__(self) -> None:
        super().__init__(*FIELDS)

    def update(self, answers: Sequence[Mapping[str, Any]], batch: Batch) -> None:
        super().update([phrase for answer in answers for phrase in answer["phrases"]], batch)
