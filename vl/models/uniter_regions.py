"""UNITER's regions (arXiv:1909.11740, section 3.1): LN(LN(W f) + LN(V geometry) + segment 1)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Visual
from vl.models.bert import EPS, init_weights
from vl.models.embed import TextEmbedder, VisualEmbedder, hide, region_mask, region_segments
from vl.models.geometry import box_geometry, spread_boxes
from vl.models.packing import Packing


class UniterRegions(VisualEmbedder):
    """Feature and box each normalised, with the segments of the words.

    A hidden region's feature is a learned vector instead, before the projection.

    Args:
        width: of the vectors.
        feature_width: of the stored features.
        geometry: numbers that describe a box, see `box_geometry`.
        segment: of regions that name none.
        dropout: on the result.
        spread: boxes start as `spread_boxes` says, not as released.
    """

    def __init__(
        self,
        width: int = 768,
        feature_width: int = 2048,
        geometry: int = 7,
        segment: int = 1,
        dropout: float = 0.1,
        spread: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.geometry, self.segment = width, geometry, segment
        self.projection = nn.Linear(feature_width, width)
        self.feature_norm = nn.LayerNorm(width, eps=EPS)
        self.geometry_projection = nn.Linear(geometry, width)
        self.geometry_norm = nn.LayerNorm(width, eps=EPS)
        self.hidden = nn.Embedding(2, feature_width, padding_idx=0)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)
        init_weights(self, width)
        if spread:
            spread_boxes(self.geometry_projection, shared=1.0)

    def forward(self, visual: Visual, text: TextEmbedder) -> tuple[Float[Tensor, "n d"], Packing]:
        packing = Packing.of(region_mask(visual))
        features = packing.pack(visual.features)
        if visual.hidden is not None:
            hidden = packing.pack(visual.hidden)
            features = hide(features, hidden) + self.hidden(hidden.long())
        geometry = box_geometry(packing.pack(visual.boxes), self.geometry)
        segment = text.segment(region_segments(visual, packing, self.segment))
        x = self.feature_norm(self.projection(features)) + self.geometry_norm(self.geometry_projection(geometry))
        return self.dropout(self.norm(x + segment)), packing
