"""The ranks of a run and the collectives VL uses; one process alone is a group of one and communicates nothing."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, distributed
from torch.distributed import _functional_collectives as collectives


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
    if world_size() == 1:
        return x
    # The module keeps its underscore in torch, but torch.distributed.nn.functional, the public way, is deprecated.
    return collectives.wait_tensor(
        collectives.all_gather_single_autograd(x.contiguous(), gather_dim=0, group=distributed.group.WORLD)
    )


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
