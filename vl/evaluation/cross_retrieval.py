"""Retrieval by a model that reads text and picture together: every pair is scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch, Encoded
from vl.metrics.folds import retrieve_scores
from vl.metrics.recall import TIE, Retrieval
from vl.models.base import VLModel


class Scorer(Protocol):
    """What has a head that scores rows: `ITM`, `TripletRetrieval`."""

    def scores(self, output: Encoded) -> Float[Tensor, " r"]: ...


@torch.inference_mode()
def pair_scores(model: VLModel, scorer: Scorer, batch: Batch, rows: int = 512) -> Float[Tensor, "b b"]:
    """The score of every picture of a batch (a row) with every text of it, `rows` pairs at a time."""
    places = torch.arange(len(batch))
    picture, text = torch.meshgrid(places, places, indexing="ij")
    pairs = torch.stack([text.flatten(), picture.flatten()], dim=1)
    found = [scorer.scores(model(replace(batch, pairs=some))) for some in pairs.split(rows)]
    return torch.cat(found).view(picture.shape)


def retrieve_pairs(model: VLModel, scorer: Scorer, batch: Batch) -> Retrieval:
    """Both directions among the examples of a batch, each of which has one text and one picture."""
    return retrieve_scores(pair_scores(model, scorer, batch), torch.arange(len(batch)), tie=TIE)
