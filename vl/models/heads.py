"""Heads: small modules on top of a model's features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Head(nn.Module):
    """Features of width `in_features` to embeddings of width `out_features`."""

    in_features: int
    out_features: int

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        raise NotImplementedError


class LinearHead(Head):
    """A linear map."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.proj = nn.Linear(in_features, out_features, bias)

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        return self.proj(x)


class MLPHead(Head):
    """LayerNorm, a hidden layer with GELU, and a linear map."""

    def __init__(self, in_features: int, out_features: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.layers = nn.Sequential(
            nn.LayerNorm(in_features),
            nn.Linear(in_features, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, out_features),
        )

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        return self.layers(x)


class WideDeepHead(Head):
    """A linear map and, added to it, a hidden layer with GELU; dropout on the features and on the hidden layer.

    The linear part learns at once and generalises, the hidden layer fits the rest. For features that are normalised
    already.
    """

    def __init__(self, in_features: int, out_features: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.dropout = nn.Dropout(dropout)
        self.wide = nn.Linear(in_features, out_features)
        self.deep = nn.Sequential(
            nn.Linear(in_features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, out_features)
        )

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        x = self.dropout(x)
        return self.wide(x) + self.deep(x)
