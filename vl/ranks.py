"""The ranks of a run and the collectives VL uses; one process alone is a group of one and communicates nothing."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def rank() -> int:
    """The index of this process among all."""
    return distributed.get_rank() if _is_group() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _is_group() else 1


def _is_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def gather_rows(x: Float[Tensor, "n ..."]) -> Float[Tensor, "all ..."]:
    """The rows of all ranks in rank order, each rank giving equally many.

    Differentiable: a row's gradient is the sum over what all ranks made of it. One gather forward, one
    reduce-scatter backward.
    """
    return x if world_size() == 1 else _GatherRows.apply(x)


class _GatherRows(torch.autograd.Function):
    """In torch itself the differentiable gather is deprecated (`torch.distributed.nn`) or private."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = x.new_empty(world_size() * len(x), *x.shape[1:])
        distributed.all_gather_single(rows, x.contiguous())
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        own = gradient.new_empty(len(gradient) // world_size(), *gradient.shape[1:])
        distributed.reduce_scatter_single(own, gradient.contiguous())
        return own


def sum_over_ranks(x: Shaped[Tensor, ...]) -> Shaped[Tensor, ...]:
    """The sum of `x` over all ranks, on every rank; not differentiable."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    distributed.all_reduce(total)
    return total


def gather_objects(value: Any) -> list[Any]:
    """The values of all ranks in rank order, on every rank. They are pickled: only for a run's own ranks."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values
