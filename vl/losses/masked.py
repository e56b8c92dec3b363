"""Losses of masked words and regions: sums over the rows that are scored, in float32 whatever the autocast."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

Distance = Literal["l2", "smooth_l1"]


def cross_entropy(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Each row's own."""
    return F.cross_entropy(logits.float(), labels, reduction="none")


def hits(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """How many rows have the right class on top."""
    return (logits.argmax(1) == labels).sum().float()


def top_class(probs: Float[Tensor, "*s c"]) -> Int[Tensor, "*s"]:
    """The detector's best class; the background, which comes first, is never one."""
    return probs[..., 1:].argmax(-1) + 1


def kl_divergence(logits: Float[Tensor, "n c"], probs: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """KL(probs || softmax(logits)) of each row, summed over classes."""
    return F.kl_div(logits.float().log_softmax(1), probs.float(), reduction="none").sum(1)


def feature_distance(
    predicted: Float[Tensor, "n f"], features: Float[Tensor, "n f"], kind: Distance = "l2"
) -> Float[Tensor, " n"]:
    """Squared, or smooth absolute, differences of each row, averaged over its numbers."""
    loss = F.mse_loss if kind == "l2" else F.smooth_l1_loss
    return loss(predicted.float(), features.float(), reduction="none").mean(1)


def noise_contrastive(
    predicted: Float[Tensor, "n f"],
    features: Float[Tensor, "m f"],
    own: Int[Tensor, " n"],
    negatives: Int[Tensor, "n k"],
) -> Float[Tensor, "n k1"]:
    """Logits of each row's own feature (in column 0) and of its negatives, all of them rows of `features`."""
    scores = predicted.float() @ features.float().T
    return scores.gather(1, torch.cat([own[:, None], negatives], dim=1))
