"""ViLBERT's regions (arXiv:1908.02265, section 3.1): LN(W f + V geometry), the whole picture first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Visual
from vl.models.bert import EPS, init_weights
from vl.models.embed import TextEmbedder, VisualEmbedder, hide, region_mask
from vl.models.geometry import box_geometry, spread_boxes
from vl.models.packing import Packing


class VilbertRegions(VisualEmbedder):
    """Feature and box summed. In front stands the whole picture: the mean of all features, hidden too, as released.

    Args:
        width: of the vectors.
        feature_width: of the stored features.
        geometry: numbers that describe a box, see `box_geometry`.
        dropout: on the result.
        spread: boxes start as `spread_boxes` says, not as released.
    """

    num_extra = 1

    def __init__(
        self,
        width: int = 1024,
        feature_width: int = 2048,
        geometry: int = 5,
        dropout: float = 0.1,
        spread: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.geometry = width, geometry
        self.projection = nn.Linear(feature_width, width)
        self.geometry_projection = nn.Linear(geometry, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)
        init_weights(self, width)
        if spread:
            spread_boxes(self.geometry_projection)

    def forward(self, visual: Visual, text: TextEmbedder) -> tuple[Float[Tensor, "n d"], Packing]:
        mask = region_mask(visual)
        picture = (visual.features * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        features = torch.cat([picture[:, None], hide(visual.features, visual.hidden)], dim=1)
        whole = visual.boxes.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(mask), 1, 4)
        packing = Packing.of(F.pad(mask, (1, 0), value=True))
        geometry = box_geometry(packing.pack(torch.cat([whole, visual.boxes], dim=1)), self.geometry)
        x = self.projection(packing.pack(features)) + self.geometry_projection(geometry)
        return self.dropout(self.norm(x)), packing
