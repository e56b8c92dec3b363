"""The control: a ridge map from frozen image features to frozen text features, with no contrastive training.

It is a `TwoTower` like any other, whose image head was solved for instead of trained, so that every evaluator runs it
on the same pictures and texts. A contrastive model on the same backbones has to be better than this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from vl.metrics.recall import retrieve
from vl.models.heads import Head

#: Tried on val: nine values from 1e-2 to 1e2.
LAMBDAS = tuple(10 ** (exponent / 2) for exponent in range(-4, 5))


@dataclass(frozen=True)
class Pairs:
    """Frozen features of pictures and texts; text j belongs to picture `owners[j]`."""

    image: Float[Tensor, "i f"]
    text: Float[Tensor, "t e"]
    owners: Int[Tensor, " t"]


class RidgeHead(Head):
    """Features of a picture, brought to unit length, times `weight` plus `bias`."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Float[Tensor, "f e"], bias: Float[Tensor, " e"]) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.shape
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b e"]:
        return normalize(x.float(), dim=1) @ self.weight + self.bias


@dataclass(frozen=True)
class Ridge:
    """The head that was solved for, its lambda, and the mean recall on val (in percent) of every lambda tried."""

    head: RidgeHead
    chosen: float
    tried: dict[float, float]


def solve(
    x: Float[Tensor, "n f"], y: Float[Tensor, "n e"], lambdas: Sequence[float]
) -> Iterator[tuple[Float[Tensor, "f e"], Float[Tensor, " e"]]]:
    """Weight and bias that minimise |x w + b - y|^2 + lambda |w|^2 for every lambda; the bias is not penalised.

    Both sides are centred, and one eigendecomposition in fp64 serves all lambdas.
    """
    x, y = x.double(), y.double()
    centre, goal = x.mean(0), y.mean(0)
    moments, basis = torch.linalg.eigh((x - centre).T @ (x - centre))
    product = basis.T @ ((x - centre).T @ (y - goal))
    for strength in lambdas:
        weight = basis @ (product / (moments.clamp(min=0) + strength)[:, None])
        yield weight.float(), (goal - centre @ weight).float()


def fit_ridge(train: Pairs, val: Pairs, lambdas: Sequence[float] = LAMBDAS) -> Ridge:
    """Fit on train, one row a caption, and keep the lambda with the best mean recall on val (the first of equals).

    Image features are brought to unit length first, so that a lambda means the same for every backbone.

    Raises:
        ValueError: a feature is not finite.
    """
    if not all(part.isfinite().all() for part in (train.image, train.text, val.image, val.text)):
        raise ValueError("features given to the ridge control hold values that are not finite")
    heads = [RidgeHead(*solved) for solved in solve(normalize(train.image, dim=1)[train.owners], train.text, lambdas)]
    tried = {strength: _recall(head, val) for strength, head in zip(lambdas, heads, strict=True)}
    chosen = max(tried, key=lambda strength: tried[strength])
    return Ridge(heads[list(tried).index(chosen)], chosen, tried)


@torch.inference_mode()
def _recall(head: RidgeHead, pairs: Pairs) -> float:
    """The mean recall in percent, candidates ranked by cosine."""
    mapped = normalize(head(pairs.image), dim=1)
    return retrieve(pairs.text, mapped, pairs.owners, torch.arange(len(mapped))).metrics()["mean_recall"]
