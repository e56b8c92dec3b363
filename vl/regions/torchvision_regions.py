"""Regions by torchvision's Faster R-CNN (arXiv:1506.01497): its proposals, and the features its heads read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection

from vl.data.regions_member import Regions
from vl.regions.extractor import Extractor, Picture, weights_of
from vl.regions.selection import Selection

MODELS = ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn")


def build_detector(name: str, num_classes: int = 91, **options: object) -> nn.Module:
    """A detector without its weights.

    Args:
        name: one of `MODELS`.
        num_classes: with the background, which torchvision has FIRST.
        options: further arguments of its constructor, such as min_size and rpn_post_nms_top_n_test.

    Raises:
        ValueError: torchvision has no such detector.
    """
    if name not in MODELS:
        raise ValueError(f"no detector {name!r}; there are {', '.join(MODELS)}")
    build = getattr(detection, name)
    return build(weights=None, weights_backbone=None, num_classes=num_classes, **options).eval().requires_grad_(False)


@dataclass(frozen=True)
class TorchvisionRegions(Extractor):
    """The proposals that `selection` keeps, with the features of the box head (1024-d).

    Args:
        detector: of `build_detector`, with its weights.
        selection: chooses among its proposals.
        names: of its classes, background first; for the card.
        about: further settings for the card, such as the sha256 of the weights; None says that there are no weights.
    """

    detector: Any
    selection: Selection = field(default_factory=Selection)
    names: tuple[str, ...] = ()
    about: Mapping[str, object] | None = None

    @property
    def settings(self) -> Mapping[str, object]:
        return {
            "detector": f"torchvision {type(self.detector).__name__}, proposals and features of its box head",
            "colour order": "RGB",
            "box convention": "proposals before regression, xyxy in 0..1",
            "non-maximum suppression": f"per class, at {self.selection.overlap} intersection over union",
            "class vocabulary": list(self.names),
            "selection": asdict(self.selection),
            **weights_of(self.about),
        }

    def __call__(self, pictures: Sequence[Picture]) -> list[Regions]:
        with torch.inference_mode():
            return [self._regions(picture.pixels.float() / 255) for picture in pictures]

    def _regions(self, pixels: Tensor) -> Regions:
        model = self.detector
        images, _ = model.transform([pixels])
        maps = model.backbone(images.tensors)
        proposals, _ = model.rpn(images, maps)
        features = model.roi_heads.box_head(model.roi_heads.box_roi_pool(maps, proposals, images.image_sizes))
        probs = model.roi_heads.box_predictor(features)[0].softmax(dim=1)
        kept, confidence = self.selection(proposals[0], probs)
        height, width = images.image_sizes[0]
        boxes = (proposals[0][kept] / torch.tensor([width, height, width, height])).clamp(0, 1)
        return Regions(features[kept], boxes, probs[kept], confidence)
