"""LXMERT's regions (arXiv:1908.07490, section 2.1): (LN(W f) + LN(V box)) / 2."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Visual
from vl.models.bert import EPS, init_weights
from vl.models.embed import TextEmbedder, VisualEmbedder, hide, region_mask
from vl.models.geometry import box_geometry, spread_boxes
from vl.models.packing import Packing


class LxmertRegions(VisualEmbedder):
    """The mean of feature and box, each normalised.

    Args:
        width: of the vectors.
        feature_width: of the stored features.
        geometry: numbers that describe a box, see `box_geometry`.
        dropout: on the result.
        spread: boxes start as `spread_boxes` says, not as released.
    """

    def __init__(
        self, width: int = 768, feature_width: int = 2048, geometry: int = 4, dropout: float = 0.1, spread: bool = False
    ) -> None:
        super().__init__()
        self.width, self.geometry = width, geometry
        self.projection = nn.Linear(feature_width, width)
        self.feature_norm = nn.LayerNorm(width, eps=EPS)
        self.geometry_projection = nn.Linear(geometry, width)
        self.geometry_norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)
        init_weights(self, width)
        if spread:
            spread_boxes(self.geometry_projection, shared=1.0)

    def forward(self, visual: Visual, text: TextEmbedder) -> tuple[Float[Tensor, "n d"], Packing]:
        packing = Packing.of(region_mask(visual))
        features = packing.pack(hide(visual.features, visual.hidden))
        geometry = box_geometry(packing.pack(visual.boxes), self.geometry)
        x = self.feature_norm(self.projection(features)) + self.geometry_norm(self.geometry_projection(geometry))
        return self.dropout(x / 2), packing
