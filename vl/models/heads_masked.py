"""Heads that predict what was masked; they run on the rows that are scored only.

All begin with BERT's transform (arXiv:1810.04805, released code): a linear map, GELU and LayerNorm.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vl.models.bert import EPS, init_weights


class Transform(nn.Module):
    """LN(GELU(W x + b))."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_features, out_features)
        self.norm = nn.LayerNorm(out_features, eps=EPS)
        init_weights(self, in_features)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:
        return self.norm(F.gelu(self.dense(x)))


class TokenHead(nn.Module):
    """Words: logits over the vocabulary, by the word embeddings themselves (tied) and a bias."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.transform = Transform(embedding.embedding_dim, embedding.embedding_dim)
        self.decoder = embedding
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        return F.linear(self.transform(x), self.decoder.weight, self.bias)


class ClassHead(nn.Module):
    """Classes: the transform, to `hidden` (None: the width itself), and a linear map."""

    def __init__(self, width: int, classes: int, hidden: int | None = None) -> None:
        super().__init__()
        self.transform = Transform(width, hidden or width)
        self.decoder = nn.Linear(hidden or width, classes)
        init_weights(self.decoder, hidden or width)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return self.decoder(self.transform(x))


class FeatureHead(nn.Module):
    """Region features: the transform, and the transpose of the map that read them (tied), as UNITER does it."""

    def __init__(self, projection: nn.Linear) -> None:
        super().__init__()
        self.transform = Transform(projection.out_features, projection.out_features)
        self.weight = projection.weight
        self.bias = nn.Parameter(torch.zeros(projection.in_features))

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n f"]:
        return F.linear(self.transform(x), self.weight.T, self.bias)


class SharedHead(nn.Module):
    """Several outputs after one transform, such as LXMERT's object, attribute and feature.

    Args:
        width: of the input.
        outputs: the number of outputs by name.
    """

    def __init__(self, width: int, outputs: dict[str, int]) -> None:
        super().__init__()
        self.transform = Transform(width, width)
        self.decoders = nn.ModuleDict({name: nn.Linear(width, size) for name, size in outputs.items()})
        init_weights(self.decoders, width)

    def forward(self, x: Float[Tensor, "n d"]) -> dict[str, Float[Tensor, "n _"]]:
        x = self.transform(x)
        return {name: decoder(x) for name, decoder in self.decoders.items()}
