"""Contrastive losses of rows against columns, in float32 whatever the autocast.

InfoNCE: "Representation Learning with Contrastive Predictive Coding", arXiv:1807.03748, equation 4. Its sigmoid form:
"Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343, algorithm 1.

Row i and column `offset + i` are a pair: across ranks the rows are this rank's, the columns those of all ranks.
Every function returns two sums over its rows, the loss and the hits (rows whose best column is their own). With
`chunk` only that many rows of the logits exist at a time: they are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Sums = tuple[Float[Tensor, ""], Float[Tensor, ""]]


def info_nce(
    rows: Float[Tensor, "n e"],
    columns: Float[Tensor, "m e"],
    scale: Float[Tensor, " 1"],
    offset: int = 0,
    label_smoothing: float = 0.0,
    chunk: int | None = None,
) -> Sums:
    """-log of the softmax over the columns of scale * cosine, at a row's own column."""
    return _by_chunks(_info_nce, chunk, offset, rows, columns, scale, label_smoothing)


def sigmoid_loss(
    rows: Float[Tensor, "n e"],
    columns: Float[Tensor, "m e"],
    scale: Float[Tensor, " 1"],
    bias: Float[Tensor, " 1"],
    offset: int = 0,
    chunk: int | None = None,
) -> Sums:
    """-log sigmoid of the logit, scale * cosine + bias, of a row's own column and of minus the logit of every other."""
    return _by_chunks(_sigmoid_loss, chunk, offset, rows, columns, scale, bias)


def _info_nce(rows: Tensor, labels: Tensor, columns: Tensor, scale: Tensor, label_smoothing: float) -> Sums:
    logits = _cosines(scale * rows, columns)
    loss = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
    return loss, _hits(logits, labels)


def _sigmoid_loss(rows: Tensor, labels: Tensor, columns: Tensor, scale: Tensor, bias: Tensor) -> Sums:
    logits = _cosines(scale * rows, columns) + bias
    # log sigmoid(-x) = log sigmoid(x) - x, so one pass scores all as negatives and the pairs are corrected.
    own = logits.gather(1, labels[:, None])
    return -F.logsigmoid(-logits).sum() - own.sum(), _hits(logits, labels)


def _cosines(rows: Tensor, columns: Tensor) -> Tensor:
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.T


def _hits(logits: Tensor, labels: Int[Tensor, " n"]) -> Tensor:
    return (logits.detach().argmax(1) == labels).sum().float()


def _by_chunks(
    part: Callable[..., Sums], chunk: int | None, offset: int, rows: Tensor, columns: Tensor, scale: Tensor, *rest: Any
) -> Sums:
    """The sums of `part` over all rows, `chunk` rows at a time."""
    rows, columns, scale = rows.float(), columns.float(), scale.float()
    labels = torch.arange(offset, offset + len(rows), device=rows.device)
    if chunk is None:
        return part(rows, labels, columns, scale, *rest)
    sums = [
        checkpoint(part, *piece, columns, scale, *rest, use_reentrant=False, preserve_rng_state=False)
        for piece in zip(rows.split(chunk), labels.split(chunk), strict=True)
    ]
    losses, hits = zip(*sums, strict=True)
    return torch.stack(losses).sum(), torch.stack(hits).sum()
