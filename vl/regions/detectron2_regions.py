"""Regions by detectron2's Faster R-CNN C4, as bottom-up attention makes them (arXiv:1707.07998)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vl.data.regions_member import Regions
from vl.regions.extractor import Extractor, Picture, background_first, weights_of
from vl.regions.selection import Selection


@dataclass(frozen=True)
class Detectron2Regions(Extractor):
    """The proposals that `selection` keeps, with the mean of res5 over each (2048-d), classes and attributes.

    UNITER and MILVLG store such boxes, LXMERT those after regression.

    Args:
        detector: of `vl.regions.detectron2_model.build_detector`, with its weights.
        config: what it was built from.
        selection: chooses among its proposals.
        regressed: store boxes moved by the regression of their likeliest class; features stay those of the proposals.
        about: further settings for the card, such as the sha256 of the weights; None says that there are no weights.
    """

    detector: Any
    config: Any
    selection: Selection = field(default_factory=Selection)
    regressed: bool = False
    about: Mapping[str, object] | None = None

    @property
    def settings(self) -> Mapping[str, object]:
        model, boxes = self.config.MODEL, "after regression" if self.regressed else "before regression"
        return {
            "detector": f"detectron2 Faster R-CNN C4, ResNet-{model.RESNETS.DEPTH}, mean of res5 over a region",
            "pooling": f"{model.ROI_BOX_HEAD.POOLER_TYPE}, {model.ROI_BOX_HEAD.POOLER_RESOLUTION} cells a side",
            "colour order": self.config.INPUT.FORMAT,
            "pixel mean": list(model.PIXEL_MEAN),
            "box convention": f"proposals {boxes}, xyxy in 0..1",
            "non-maximum suppression": f"per class, at {self.selection.overlap} intersection over union",
            "class vocabulary": f"background, then {model.ROI_HEADS.NUM_CLASSES} classes in the order of the weights",
            "attribute vocabulary": "no attribute, then the attributes in the order of the weights",
            "size": [self.config.INPUT.MIN_SIZE_TEST, self.config.INPUT.MAX_SIZE_TEST],
            "proposals": model.RPN.POST_NMS_TOPK_TEST,
            "selection": asdict(self.selection),
            **weights_of(self.about),
        }

    def __call__(self, pictures: Sequence[Picture]) -> list[Regions]:
        with torch.inference_mode():
            return [self._regions(self._scaled(picture.pixels)) for picture in pictures]

    def _regions(self, pixels: Float[Tensor, "3 h w"]) -> Regions:
        model, (height, width) = self.detector, pixels.shape[1:]
        images = model.preprocess_image([{"image": pixels}])
        maps = model.backbone(images.tensor)
        (proposals,), _ = model.proposal_generator(images, maps, None)
        heads, boxes = model.roi_heads, proposals.proposal_boxes
        features = heads._shared_roi_transform([maps[name] for name in heads.in_features], [boxes]).mean(dim=(2, 3))
        logits, shifts = heads.box_predictor(features)
        probs = background_first(logits.softmax(dim=1))
        attributes = background_first(heads.box_predictor.attributes(features, logits).softmax(dim=1))
        kept, confidence = self.selection(boxes.tensor, probs)
        found = self._moved(boxes.tensor, shifts, probs)[kept] if self.regressed else boxes.tensor[kept]
        found = (found / torch.tensor([width, height, width, height])).clamp(0, 1)
        return Regions(features[kept], found, probs[kept], confidence, attributes[kept])

    def _scaled(self, pixels: Tensor) -> Float[Tensor, "3 h w"]:
        """In the detector's size and colour order, still 0..255."""
        wanted, (height, width) = self.config.INPUT, pixels.shape[1:]
        factor = min(wanted.MIN_SIZE_TEST / min(height, width), wanted.MAX_SIZE_TEST / max(height, width))
        size = round(height * factor), round(width * factor)
        scaled = F.interpolate(pixels[None].float(), size, mode="bilinear", antialias=factor < 1)[0]
        return scaled.flip(0) if wanted.FORMAT == "BGR" else scaled

    def _moved(self, boxes: Tensor, shifts: Tensor, probs: Tensor) -> Float[Tensor, "n 4"]:
        """Boxes after the regression of their likeliest class (the background has none)."""
        best = probs[:, 1:].argmax(dim=1)
        own = shifts.view(len(boxes), -1, 4)
        own = own[torch.arange(len(boxes)), best if own.shape[1] > 1 else 0]
        return self.detector.roi_heads.box_predictor.box2box_transform.apply_deltas(own, boxes)
