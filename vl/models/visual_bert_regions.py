"""VisualBERT's regions (arXiv:1908.03557, section 3.2): LN(W f + segment + position 0), the LayerNorm of the words."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from vl.batch import Visual
from vl.models.bert import init_weights
from vl.models.embed import TextEmbedder, VisualEmbedder, hide, region_mask, region_segments
from vl.models.geometry import box_geometry, spread_boxes
from vl.models.packing import Packing


class VisualBertRegions(VisualEmbedder):
    """Features with segments and positions of their own. As released, boxes are not read: what is to the left of what
    can then be told as far as features show it.

    Regions aligned with words, which add those words' positions, are not supported.

    Args:
        width: of the vectors.
        feature_width: of the stored features.
        segments, positions: sizes of the tables, those of the words' tables they start as copies of.
        segment: of regions that name none: 0 as released; Hugging Face's class says 1.
        geometry: numbers that describe a box (see `box_geometry`), mapped and added, beginning as `spread_boxes` says;
            0, as released, for none.
    """

    def __init__(
        self,
        width: int = 768,
        feature_width: int = 2048,
        segments: int = 2,
        positions: int = 512,
        segment: int = 0,
        geometry: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.default_segment, self.geometry = width, segment, geometry
        self.projection = nn.Linear(feature_width, width)
        self.segment = nn.Embedding(segments, width)
        self.position = nn.Embedding(positions, width)
        init_weights(self, width)
        self.geometry_projection = nn.Linear(geometry, width) if geometry else None
        if geometry:
            spread_boxes(self.geometry_projection)

    def forward(self, visual: Visual, text: TextEmbedder) -> tuple[Float[Tensor, "n d"], Packing]:
        packing = Packing.of(region_mask(visual, boxes=bool(self.geometry)))
        features = packing.pack(hide(visual.features, visual.hidden))
        segment = self.segment(region_segments(visual, packing, self.default_segment))
        x = self.projection(features) + segment + self.position.weight[0]
        if self.geometry:
            x = x + self.geometry_projection(box_geometry(packing.pack(visual.boxes), self.geometry))
        return text.finish(x), packing
