"""Zero-shot retrieval: every caption looks for its picture, every picture for one of its captions."""

from __future__ import annotations

import torch

from vl.evaluation.embed import Embedder, Images
from vl.evaluation.outcome import Outcome
from vl.metrics.recall import retrieve


def zero_shot_retrieval(embedder: Embedder, images: Images, language: str) -> Outcome:
    """Any-hit R@1, 5, 10 and median rank in both directions, over all captions in one language.

    A picture that cannot be read is left out together with its captions. Pictures with the same caption are not each
    other's answers: such a caption finds its picture among equals, and ties count against the model.

    Raises:
        ValueError: no sample has a caption in the language.
    """
    images, texts, owners = images.captioned(language)
    result = retrieve(embedder.texts(texts, language), images.emb, owners, torch.arange(len(images.samples)))
    protocol = f"any-hit, ties against: {len(texts)} texts <-> {len(images.samples)} pictures"
    if repeated := len(texts) - len(set(texts)):
        protocol += f", {repeated} texts repeat another"
    if images.bad:
        protocol += f", {len(images.bad)} unreadable pictures left out"
    unknown = 100 * embedder.bundle.tokenizer.unknown_rate(texts)
    metrics = result.metrics() | {"unknown_tokens": unknown, "unreadable": float(len(images.bad))}
    return Outcome(protocol, len(texts), metrics, "mean_recall", result.score(), len(images.samples))
