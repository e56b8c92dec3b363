"""Bottom-up attention's detector in detectron2: Faster R-CNN C4 as it was trained on Visual Genome (arXiv:1707.07998).

The Caffe model and its conversions differ from detectron2's own C4 in the pooling of the stem, in res5, and by a head
for attributes; the last is here even where there are no such weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

#: Visual Genome's classes and attributes, without the background.
CLASSES, ATTRIBUTES = 1600, 400
C4 = "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml"


class AttributeHead(nn.Module):
    """Attributes of a region given its feature and its likeliest class; the last logit is "no attribute"."""

    def __init__(self, width: int = 2048, classes: int = CLASSES, attributes: int = ATTRIBUTES) -> None:
        super().__init__()
        self.cls_embedding = nn.Embedding(classes + 1, width // 8)
        self.fc_attr = nn.Linear(width + width // 8, width // 4)
        self.attr_score = nn.Linear(width // 4, attributes + 1)

    def forward(self, x: Float[Tensor, "n f"], class_logits: Float[Tensor, "n c"]) -> Float[Tensor, "n a"]:
        x = torch.cat([x, self.cls_embedding(class_logits.argmax(dim=1))], dim=1)
        return self.attr_score(F.relu(self.fc_attr(x)))


def visual_genome_config(*overrides: Any) -> Any:
    """detectron2's configuration of bottom-up attention (ResNet-101 C4), changed by (name, value, name, value, ...)."""
    from detectron2.config import get_cfg

    config = get_cfg()
    config.merge_from_file(str(files("detectron2") / "model_zoo" / "configs" / C4))
    config.merge_from_list(
        ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.RESNETS.DEPTH", 101, "MODEL.RESNETS.STRIDE_IN_1X1", True,
         "MODEL.PIXEL_MEAN", [102.9801, 115.9465, 122.7717], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0],
         "MODEL.ANCHOR_GENERATOR.SIZES", [[64, 128, 256, 512]], "MODEL.RPN.CONV_DIMS", [512],
         "MODEL.RPN.POST_NMS_TOPK_TEST", 300, "MODEL.RPN.NMS_THRESH", 0.7,
         "MODEL.ROI_HEADS.NUM_CLASSES", CLASSES, "MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIPool",
         "INPUT.FORMAT", "BGR", "INPUT.MIN_SIZE_TEST", 600, "INPUT.MAX_SIZE_TEST", 1000, *overrides]
    )  # fmt: skip
    return config


def build_detector(config: Any, caffe: bool = True) -> nn.Module:
    """A detector without its weights, with an attribute head in `roi_heads.box_predictor`.

    Args:
        config: detectron2's, of a `Res5ROIHeads`.
        caffe: with the stem and res5 of the Caffe model, as the Visual Genome weights need it.

    Raises:
        ValueError: the heads are others than those of C4.
    """
    from detectron2.modeling import build_model

    if config.MODEL.ROI_HEADS.NAME != "Res5ROIHeads":
        raise ValueError(f"MODEL.ROI_HEADS.NAME is {config.MODEL.ROI_HEADS.NAME}; features of C4 need Res5ROIHeads")
    model = build_model(config).eval().requires_grad_(False)
    heads = model.roi_heads
    classes = heads.box_predictor.cls_score.out_features - 1
    heads.box_predictor.attributes = AttributeHead(heads.box_predictor.cls_score.in_features, classes)
    if caffe:
        model.backbone.stem = CaffeStem(model.backbone.stem.conv1)
        _dilate(heads.res5)
    return model


class CaffeStem(nn.Module):
    """ResNet's stem with Caffe's pooling, which rounds the size of its output up and does not pad at the start."""

    stride = 4

    def __init__(self, conv1: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv1

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c _ _"]:
        return F.max_pool2d(F.relu(self.conv1(x)), kernel_size=3, stride=2, padding=0, ceil_mode=True)


def _dilate(res5: nn.Module) -> None:
    """Stride 1 and dilation 2 in place of stride 2: res5 keeps the 14 x 14 cells of a region."""
    for module in res5.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of py-bottom-up-attention by the names of `build_detector`; not tested on a real file.

    There the attribute head's layers stand directly in the box predictor.
    """
    predictor = "roi_heads.box_predictor."
    old = tuple(predictor + name for name in ("cls_embedding", "fc_attr", "attr_score"))
    return {
        name.replace(predictor, f"{predictor}attributes.") if name.startswith(old) else name: value
        for name, value in state.items()
    }
