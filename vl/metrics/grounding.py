"""Is the box that was pointed at the right one? Two conventions of overlap, which disagree near one half.

Both count a prediction as right where the overlap is more than one half, never at one half exactly. (The plain overlap
of phrase grounding is right from one half on: `vl.metrics.phrases`.)
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

#: Boxes in pixels -> overlap 0 to 1 (a little more where a convention's union is too small).
Overlap = Callable[[Float[Tensor, "... 4"], Float[Tensor, "... 4"]], Float[Tensor, "..."]]
THRESHOLD = 0.5


def iou_xywh(a: Float[Tensor, "... 4"], b: Float[Tensor, "... 4"]) -> Float[Tensor, ...]:
    """Of boxes (x, y, width, height) in pixels, as the refer toolkit, MAttNet and UNITER compute it.

    The intersection counts pixels, the corners included, and is empty where it is one pixel wide; the union takes
    plain areas.
    """
    x1, y1 = a[..., 0].maximum(b[..., 0]), a[..., 1].maximum(b[..., 1])
    x2 = (a[..., 0] + a[..., 2] - 1).minimum(b[..., 0] + b[..., 2] - 1)
    y2 = (a[..., 1] + a[..., 3] - 1).minimum(b[..., 1] + b[..., 3] - 1)
    common = ((x2 - x1 + 1) * (y2 - y1 + 1)).where((x1 < x2) & (y1 < y2), 0.0)
    return common / (a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - common)


def iou_xyxy(a: Float[Tensor, "... 4"], b: Float[Tensor, "... 4"]) -> Float[Tensor, ...]:
    """Of boxes (x1, y1, x2, y2) in pixels, as ViLBERT computes it: every length is one more than its difference."""
    size_a, size_b = a[..., 2:] - a[..., :2] + 1, b[..., 2:] - b[..., :2] + 1
    common = (a[..., 2:].minimum(b[..., 2:]) - a[..., :2].maximum(b[..., :2]) + 1).clamp(min=0).prod(-1)
    return common / (size_a.prod(-1) + size_b.prod(-1) - common)


def iou(a: Float[Tensor, "... 4"], b: Float[Tensor, "... 4"]) -> Float[Tensor, ...]:
    """Of boxes (x1, y1, x2, y2) as areas, in pixels or in shares of the picture, which give the same."""
    common = (a[..., 2:].minimum(b[..., 2:]) - a[..., :2].maximum(b[..., :2])).clamp(min=0).prod(-1)
    sizes = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return common / (sizes - common).clamp(min=1e-12)


def to_xyxy(boxes: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """Corners of boxes given as (x, y, width, height), as ViLBERT's loader makes them: x2 = x + width."""
    corners = boxes.clone()
    corners[..., 2:] += corners[..., :2]
    return corners


def pointing_hits(
    predicted: Float[Tensor, "n 4"], right: Float[Tensor, "n 4"], overlap: Overlap = iou_xywh
) -> Float[Tensor, " n"]:
    """1 where the predicted box is right, else 0."""
    return (overlap(predicted, right) > THRESHOLD).float()
