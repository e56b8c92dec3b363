"""Where a region stands, as numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def box_geometry(boxes: Float[Tensor, "*s 4"], size: int) -> Float[Tensor, "*s g"]:
    """The first numbers of a region, from its box xyxy in 0..1.

    4: the box (LXMERT). 5: and its area (ViLBERT, Unicoder-VL, ImageBERT). 6: the box, width and height (Oscar).
    7: those and the area (UNITER).

    Raises:
        ValueError: there is no such description.
    """
    width, height = (boxes[..., 2:] - boxes[..., :2]).split(1, dim=-1)
    extra = {4: (), 5: (width * height,), 6: (width, height), 7: (width, height, width * height)}
    if size not in extra:
        raise ValueError(f"geometry is {size}; a box is described by {', '.join(map(str, extra))} numbers")
    return torch.cat([boxes, *extra[size]], dim=-1)


@torch.no_grad()
def spread_boxes(projection: nn.Linear, shared: float = 0.0) -> None:
    """Start a map of `box_geometry` with zeros for a box in the middle, and differences of about one between boxes.

    Centres and sizes are spread alike; sizes differ less. As released it starts with what all boxes share, which drowns
    where each is: a small model then has long learnt to do without places when it could begin to tell left from right.

    Args:
        projection: the map.
        shared: the size of what all boxes share. A LayerNorm of the result needs about one: of a vector that begins at
            the middle it would leave the direction alone, not how far from the middle a box is.
    """
    nn.init.zeros_(projection.weight)
    centre, size = torch.randn(2, len(projection.weight), 2) * torch.tensor([4.0, 8.0])[:, None, None] * 0.5**0.5
    projection.weight[:, :4] = torch.cat([centre / 2 - size, centre / 2 + size], dim=1)
    middle = box_geometry(torch.tensor([0.35, 0.35, 0.65, 0.65]), projection.in_features)
    projection.bias.copy_(-projection.weight @ middle)
    if shared:
        projection.bias.add_(shared * torch.randn(len(projection.bias)))


def sine_geometry(boxes: Float[Tensor, "*s 4"], frequencies: int = 256) -> Float[Tensor, "*s g"]:
    """Sines and cosines of centre, width and height, times 100, 8 * `frequencies` numbers (VL-BERT, arXiv:1908.08530,
    section 3.2, after arXiv:1711.11575)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    values = 100 * torch.cat([(low + high) / 2, high - low], dim=-1)
    rates = 1000 ** (torch.arange(frequencies, device=boxes.device) / frequencies)
    angles = values[..., None] / rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
