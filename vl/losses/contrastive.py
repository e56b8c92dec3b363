"""Contrastive losses of rows against columns, in float32 whatever the autocast.

InfoNCE: "Representation Learning with Contrastive Predictive Coding", arXiv:1807.03748, equation 4. Its sigmoid form:
"Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343, algorithm 1.

Row i and column `offset + i` are a pair: across ranks the rows are this rank's, the columns those of all ranks.
Every function returns two sums over its rows, the loss and the hits (rows whose best column is their own). With
`chunk` only that many rows of the logits exist at a time: their gradient is taken in the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

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
    part = partial(_info_nce, label_smoothing)
    return _by_chunks(part, chunk, offset, rows, columns, scale)


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


def _info_nce(label_smoothing: float, rows: Tensor, labels: Tensor, columns: Tensor, scale: Tensor) -> Sums:
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
    part: Callable[..., Sums], chunk: int | None, offset: int, rows: Tensor, columns: Tensor, *parameters: Tensor
) -> Sums:
    """The sums of `part` over all rows, `chunk` rows at a time."""
    labels = torch.arange(offset, offset + len(rows), device=rows.device)
    shared = [x.float() for x in (columns, *parameters)]
    if chunk is None:
        return part(rows.float(), labels, *shared)
    if torch.is_grad_enabled():
        return _Chunks.apply(part, chunk, labels, rows.float(), *shared)
    pieces = zip(rows.float().split(chunk), labels.split(chunk), strict=True)
    losses, hits = zip(*(part(*piece, *shared) for piece in pieces), strict=True)
    return torch.stack(losses).sum(), torch.stack(hits).sum()


class _Chunks(torch.autograd.Function):
    """Takes each chunk's gradient as soon as its loss is known, and keeps the gradients instead of the logits."""

    @staticmethod
    def forward(ctx: Any, part: Callable[..., Sums], chunk: int, labels: Tensor, rows: Tensor, *shared: Tensor) -> Sums:
        shared = tuple(x.detach().requires_grad_() for x in shared)
        gradients = [torch.zeros_like(x) for x in (rows, *shared)]
        total, hits = rows.new_zeros(()), rows.new_zeros(())
        pieces = (x.split(chunk) for x in (rows.detach(), labels, gradients[0]))
        for piece, own, gradient in zip(*pieces, strict=True):
            piece.requires_grad_()
            with torch.enable_grad():
                loss, hit = part(piece, own, *shared)
            found = torch.autograd.grad(loss, [piece, *shared])
            for kept, new in zip([gradient, *gradients[1:]], found, strict=True):
                kept.add_(new)
            total, hits = total + loss.detach(), hits + hit
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(hits)
        return total, hits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *(gradient * kept for kept in ctx.saved_tensors)
