"""Optimal transport between two sets of vectors.

IPOT: "A Fast Proximal Point Method for Computing Exact Wasserstein Distance", arXiv:1802.04307, algorithm 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def cosine_cost(x: Float[Tensor, "b m d"], y: Float[Tensor, "b n d"]) -> Float[Tensor, "b m n"]:
    """1 - cosine of all pairs, in float32."""
    return 1 - F.normalize(x.float(), dim=2) @ F.normalize(y.float(), dim=2).transpose(1, 2)


@torch.no_grad()
def ipot(
    cost: Float[Tensor, "b m n"],
    x_mask: Bool[Tensor, "b m"],
    y_mask: Bool[Tensor, "b n"],
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> Float[Tensor, "b m n"]:
    """The plan that moves equal weights on x to equal weights on y at least cost; zero in the padding.

    Its rows sum to 1/|x| and its columns to 1/|y|. Sets without a member have a plan of zeros.

    Args:
        cost: of each pair.
        x_mask, y_mask: True for members of the sets.
        beta: step of the proximal method; smaller is more exact and slower to converge.
        iterations, inner: outer and inner steps.
    """
    joint = (x_mask[:, :, None] & y_mask[:, None]).float()
    x_weight, y_weight = (mask / mask.sum(1, keepdim=True).clamp(min=1) for mask in (x_mask.float(), y_mask.float()))
    kernel = torch.exp(-cost / beta) * joint
    plan, scale = joint, y_weight[..., None]
    for _ in range(iterations):
        step = kernel * plan
        for _ in range(inner):
            rows = _divide(x_weight[..., None], step @ scale)
            scale = _divide(y_weight[..., None], step.transpose(1, 2) @ rows)
        plan = rows * step * scale.transpose(1, 2)
    return plan


def transport_distance(
    x: Float[Tensor, "b m d"],
    y: Float[Tensor, "b n d"],
    x_mask: Bool[Tensor, "b m"],
    y_mask: Bool[Tensor, "b n"],
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> Float[Tensor, " b"]:
    """The cost of the best plan between the sets of each row. Gradients reach the cost alone, not the plan."""
    cost = cosine_cost(x, y)
    return (cost * ipot(cost.detach(), x_mask, y_mask, beta, iterations, inner)).sum((1, 2))


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 in the padding, where both are 0."""
    return torch.where(b > 0, a / b.clamp(min=1e-30), 0)
