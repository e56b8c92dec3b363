"""Retrieval from a matrix of scores, and COCO's 1K protocol: the mean over folds of 1,000 pictures."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vl.metrics.recall import KS, Retrieval, ranks


def retrieve_scores(scores: Float[Tensor, "i t"], owners: Int[Tensor, " t"], tie: float = 0.0) -> Retrieval:
    """Both directions of a full matrix of scores; `owners[j]` is the picture (a row) that text j belongs to.

    Texts that tie with the right one are counted before it.
    """
    images = torch.arange(len(scores))
    texts = scores.T
    return Retrieval(
        ranks(lambda first, last: texts[first:last], owners, images, tie=tie),
        ranks(lambda first, last: scores[first:last], images, owners, tie=tie),
        owners,
        images,
    )


def mean_of_folds(
    scores: Float[Tensor, "i t"], owners: Int[Tensor, " t"], size: int = 1000, ks: Sequence[int] = KS
) -> dict[str, float]:
    """Metrics averaged over folds of `size` pictures in their order, each searched among its own texts alone.

    Raises:
        ValueError: the pictures are not a multiple of `size`.
    """
    if not len(scores) or len(scores) % size:
        raise ValueError(f"{len(scores)} pictures are no multiple of the fold's {size}")
    found = []
    for first in range(0, len(scores), size):
        own = ((owners >= first) & (owners < first + size)).nonzero()[:, 0]
        fold = retrieve_scores(scores[first : first + size, own], owners[own] - first)
        found.append(fold.metrics(ks))
    return {name: fmean(metrics[name] for metrics in found) for name in found[0]}
