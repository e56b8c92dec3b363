"""Where a region stands, as numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


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


def sine_geometry(boxes: Float[Tensor, "*s 4"], frequencies: int = 256) -> Float[Tensor, "*s g"]:
    """Sines and cosines of centre, width and height, times 100, 8 * `frequencies` numbers (VL-BERT, arXiv:1908.08530,
    section 3.2, after arXiv:1711.11575)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    values = 100 * torch.cat([(low + high) / 2, high - low], dim=-1)
    rates = 1000 ** (torch.arange(frequencies, device=boxes.device) / frequencies)
    angles = values[..., None] / rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
