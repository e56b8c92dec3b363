"""Retrieval by the scores of pairs: all of them, or those that two towers find worth scoring.

The score is that of a fine-tuned head, or of pretraining's: the zero-shot retrieval of ViLBERT and UNITER.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vl.data.sample import Sample
from vl.data.views.base import View
from vl.data.views.caption import CaptionView
from vl.data.views.regions import RegionView
from vl.evaluation.cross_encoder import Gallery
from vl.evaluation.embed import Embedder
from vl.evaluation.outcome import Outcome
from vl.metrics.folds import mean_of_folds, retrieve_scores
from vl.metrics.recall import TIE


def every_caption(view: View, language: str) -> View:
    """The view of every caption in a language, its pictures as regions if `view` has them so."""
    captions = CaptionView((language,), "all")
    return replace(view, view=captions) if isinstance(view, RegionView) else captions


def pair_retrieval(
    scores: Float[Tensor, "i t"], owners: Int[Tensor, " t"], protocol: str, fold: int | None = None
) -> Outcome:
    """Any-hit R@1, 5, 10 and median rank in both directions; a pair without a score (-inf) comes last.

    Args:
        scores: Of every picture with every text.
        owners: The picture each text belongs to.
        protocol: Which pairs were scored, and by what.
        fold: Also judge folds of so many pictures in their order (COCO: 1000; ViLBERT's zero-shot figures: 500).

    Raises:
        ValueError: the pictures are not a multiple of `fold`.
    """
    found = retrieve_scores(scores, owners, tie=TIE)
    metrics = found.metrics()
    if fold:
        metrics |= {f"folds of {fold}/{name}": value for name, value in mean_of_folds(scores, owners, fold).items()}
    pictures = len(scores)
    protocol = f"any-hit, ties against: {len(owners)} texts <-> {pictures} pictures; {protocol}"
    return Outcome(protocol, len(owners), metrics, "mean_recall", found.score(), pictures)


def candidates(text: Float[Tensor, "t e"], image: Float[Tensor, "i e"], count: int) -> Bool[Tensor, "i t"]:
    """The pairs worth scoring: the picture is among the `count` nearest of the text, or the text of the picture."""
    near = image.float() @ text.float().T
    kept = torch.zeros_like(near, dtype=torch.bool)
    for side in range(2):
        kept.scatter_(side, near.topk(min(count, near.shape[side]), dim=side).indices, True)
    return kept


def candidates_by(
    towers: Embedder, samples: Iterable[Sample], gallery: Gallery, language: str, count: int
) -> Bool[Tensor, "i t"]:
    """The pairs of a gallery that two towers find worth scoring.

    Args:
        towers: Embed the texts and pictures.
        samples: Those the gallery was made of, in the same order.
        gallery: What the pairs are of.
        language: Of the gallery's texts.
        count: Candidates of each text, and of each picture.

    Raises:
        ValueError: the towers could read other pictures or texts than the gallery holds.
    """
    images, texts, owners = towers.images(samples).captioned(language)
    keys, wanted = tuple(sample.key for sample in images.samples), len(gallery.owners)
    if keys[: len(gallery.keys)] != gallery.keys or owners[:wanted].tolist() != gallery.owners.tolist():
        raise ValueError(
            f"of {len(gallery.keys)} pictures with {wanted} texts the two towers read {len(keys)} with {len(texts)}, "
            "or others: both must read every picture of the shards"
        )
    return candidates(towers.texts(texts[:wanted], language), images.emb[: len(gallery.keys)], count)


def lost(every: Outcome, some: Outcome) -> dict[str, float]:
    """How much recall falls, in points, when some pairs are scored in place of every one."""
    return {f"lost/{name}": every.metrics[name] - value for name, value in some.metrics.items() if "R@" in name}
