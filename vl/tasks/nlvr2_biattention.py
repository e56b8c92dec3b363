"""NLVR2 with two outputs that attend to each other: UNITER's pair-biattn, arXiv:1909.11740, section A.2 and table 5."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vl.batch import Batch, Encoded
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.objectives.rows import text_rows, visual_rows
from vl.tasks.nlvr2 import NLVR2


class NLVR2BiAttention(NLVR2):
    """The statement is read with each picture; each of the two sequences attends to the other, is joined with what it
    found, and is averaged by learnt weights; both averages side by side are classified.

    Args:
        heads: of the attention.
        dropout: in the attention and after the joined sequences.
    """

    needs = frozenset({"text", "visual"})

    def __init__(self, heads: int = 12, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout

    def setup(self, model: VLModel) -> None:
        width = model.width
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(width, self.heads, self.dropout, batch_first=True) for _ in range(2)
        )
        self.join = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(self.dropout))
        self.weigh, self.head = nn.Linear(width, 1), nn.Linear(2 * width, 2)
        init_weights(self, width)

    def logits(self, output: Encoded, batch: Batch) -> Float[Tensor, "b 2"]:
        x = torch.cat([output.text, output.visual], dim=1)
        mask = torch.cat([text_rows(batch.text.mask, batch), visual_rows(_visual_mask(output, batch), batch)], dim=1)
        sides, masks = (x[0::2], x[1::2]), (mask[0::2], mask[1::2])
        averages = []
        for side in range(2):
            own, other = sides[side], sides[1 - side]
            found, _ = self.attend[side](own, other, other, key_padding_mask=~masks[1 - side], need_weights=False)
            averages.append(self.average(self.join(torch.cat([found, own], dim=2)), masks[side]))
        return self.head(torch.cat(averages, dim=1))

    def average(self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """Weights by a softmax over the places that are real."""
        weights = self.weigh(x).squeeze(2).float().masked_fill(~mask, -torch.inf).softmax(1)
        return (weights[..., None].to(x.dtype) * x).sum(1)


def _visual_mask(output: Encoded, batch: Batch) -> Bool[Tensor, "bv lv"]:
    """The regions' mask; all of a grid is real."""
    if batch.visual.mask is not None:
        return batch.visual.mask
    pictures = len(batch.visual.pixels)
    return torch.ones(pictures, output.visual.shape[1], dtype=torch.bool, device=output.visual.device)
