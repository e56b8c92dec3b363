"""Regions of pictures whose objects are known: their boxes, with features and what a classifier makes of those.

Nothing of the truth but the boxes gets into the shards: classes, attributes and confidence come from classifiers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vl.data.regions_member import Regions
from vl.regions.extractor import Extractor, Picture, by_confidence
from vl.regions.known_boxes import KnownBoxes
from vl.regions.region_backbone import RegionBackbone
from vl.regions.region_classifier import BACKGROUND, RegionClassifier, Scaling, fit


@dataclass(frozen=True)
class GroundTruthRegions(Extractor):
    """Jittered boxes of the objects among boxes of the background (see `KnownBoxes`).

    Args:
        backbone: makes their features.
        boxes: chooses them.
        scaling: of the features, before anything reads them; `learn` makes it and what follows.
        classes, attributes: say what they seem to show.
        about: further settings for the card, such as the sha256 of the weights.
    """

    backbone: RegionBackbone
    boxes: KnownBoxes
    scaling: Scaling
    classes: RegionClassifier
    attributes: RegionClassifier
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, object]:
        image = self.backbone.image
        return {
            "detector": f"boxes of the truth, RoIAlign on every stage of {image.name} at {image.image_size} px",
            "features": "zero mean and unit deviation over training regions",
            "stage widths": list(self.backbone.widths),
            "colour order": "RGB",
            "box convention": "xyxy in 0..1: boxes of objects, jittered, and boxes of the background",
            "non-maximum suppression": "none",
            "class vocabulary": list(self.classes.names),
            "attribute vocabulary": list(self.attributes.names),
            "boxes": asdict(self.boxes),
            **self.about,
        }

    def __call__(self, pictures: Sequence[Picture]) -> list[Regions]:
        found = label(pictures, self.boxes, self.backbone)
        return [by_confidence(self._regions(self.scaling(one.features), one.boxes)) for one in found]

    def _regions(self, features: Tensor, boxes: Tensor) -> Regions:
        probs = self.classes(features)
        return Regions(features, boxes, probs, 1 - probs[:, 0], self.attributes(features))


@dataclass(frozen=True)
class Labelled:
    """The boxes of a picture, and the name and first attribute of what each shows."""

    features: Float[Tensor, "n f"]
    boxes: Float[Tensor, "n 4"]
    names: list[str]
    attributes: list[str]


def label(pictures: Sequence[Picture], boxes: KnownBoxes, backbone: RegionBackbone) -> list[Labelled]:
    """The boxes of some pictures, with features and labels."""
    chosen = [boxes(picture.key, picture.objects) for picture in pictures]
    with torch.inference_mode():
        features = backbone([picture.pixels for picture in pictures], [some for some, _ in chosen])
    return [
        Labelled(found, some, *_labels(picture, owners.tolist()))
        for picture, found, (some, owners) in zip(pictures, features, chosen, strict=True)
    ]


def _labels(picture: Picture, owners: Sequence[int]) -> tuple[list[str], list[str]]:
    things = [picture.objects[owner] if owner >= 0 else None for owner in owners]
    names = [thing.name if thing else BACKGROUND for thing in things]
    return names, [thing.attributes[0] if thing and thing.attributes else BACKGROUND for thing in things]


def learn(
    train: Iterable[Sequence[Picture]],
    held_out: Iterable[Sequence[Picture]],
    boxes: KnownBoxes,
    backbone: RegionBackbone,
) -> tuple[Scaling, dict[str, RegionClassifier], dict[str, object]]:
    """Fit the scaling, `classes` and `attributes` to groups of training pictures, and measure them on held-out ones.

    Returns:
        The scaling, the classifiers, and what the card says of how right they are.

    Raises:
        ValueError: there are no pictures, or they name no objects or no attributes.
    """
    features, *labels = _gather(train, boxes, backbone)
    unseen, *answers = _gather(held_out, boxes, backbone)
    scaling = Scaling.of(features)
    features, unseen = scaling(features), scaling(unseen)
    found = {kind: fit(features, names) for kind, names in zip(("classes", "attributes"), labels, strict=True)}
    percent = {kind: one.accuracy(unseen, names) for (kind, one), names in zip(found.items(), answers, strict=True)}
    return (
        scaling,
        found,
        {"training regions": len(features), "held-out regions": len(unseen), "percent right": percent},
    )


def _gather(
    groups: Iterable[Sequence[Picture]], boxes: KnownBoxes, backbone: RegionBackbone
) -> tuple[Float[Tensor, "n f"], list[str], list[str]]:
    found = [one for group in groups for one in label(group, boxes, backbone)]
    if not found:
        raise ValueError("there are no pictures to learn from, or none that can be read")
    names = [name for one in found for name in one.names]
    attributes = [name for one in found for name in one.attributes]
    return torch.cat([one.features for one in found]), names, attributes
