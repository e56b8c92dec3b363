"""Which boxes of a detector are kept: bottom-up attention's rule (arXiv:1707.07998, released code)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import batched_nms


@dataclass(frozen=True)
class Selection:
    """Keeps boxes that are the best of some class with enough confidence, but never too few nor too many.

    Args:
        least, most: boxes kept, where there are as many.
        threshold: of the confidence.
        overlap: the intersection over union from which on a box yields to a better one of the same class.
        floor: class probabilities below this take no part; it saves time and changes only boxes kept as one of the
            `least` with less confidence than this.
    """

    least: int = 10
    most: int = 100
    threshold: float = 0.2
    overlap: float = 0.3
    floor: float = 0.01

    def __call__(
        self, boxes: Float[Tensor, "n 4"], class_probs: Float[Tensor, "n c"]
    ) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
        """The rows kept and their confidence, highest first.

        Args:
            boxes: xyxy, in any unit.
            class_probs: background FIRST; it takes no part.
        """
        confidence = self._confidence(boxes, class_probs[:, 1:])
        order = confidence.argsort(descending=True, stable=True)
        count = min(max(int((confidence >= self.threshold).sum()), self.least), self.most)
        return order[:count], confidence[order[:count]]

    def _confidence(self, boxes: Tensor, probs: Tensor) -> Float[Tensor, " n"]:
        """For each box its highest probability among the classes in which no better box displaces it; 0 if none."""
        rows, classes = (probs > self.floor).nonzero().unbind(1)
        scores = probs[rows, classes]
        kept = batched_nms(boxes[rows], scores, classes, self.overlap)
        return boxes.new_zeros(len(boxes)).scatter_reduce(0, rows[kept], scores[kept], "amax")
