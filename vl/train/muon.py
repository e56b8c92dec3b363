"""Muon: steps of matrices by their orthogonalised momentum.

Keller Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon;
the scale of its steps from "Muon is Scalable for LLM Training", arXiv:2502.16982, section 2.2. torch.optim.Muon takes
neither parameters that are no matrices nor sharded ones, and rounds to bf16, in which a processor without it is twenty
times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from vl.models.base import VLModel
from vl.train.optim import AdamW, Group

#: Of the polynomial a x + b x^3 + c x^5: five rounds of it bring every singular value near 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


class Muon(AdamW):
    """Muon for the linear layers of the model's blocks, AdamW for all else; both at the same learning rate.

    Args:
        momentum: of the gradients of the linear layers.
        kwargs: as for AdamW; weight decay, schedule and clipping are of both.
    """

    def __init__(self, lr: float, momentum: float = 0.95, **kwargs: Any) -> None:
        super().__init__(lr, **kwargs)
        self.momentum = momentum

    def orthogonal(self, model: VLModel) -> set[Tensor]:
        modules = (module for block in model.blocks() for module in block.modules())
        return {module.weight for module in modules if isinstance(module, nn.Linear)}

    def build(self, groups: list[Group], parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        return MuonAdamW(
            [
                {"params": [parameters[name] for name in group.names], "orthogonal": group.orthogonal}
                for group in groups
            ],
            self.lr,
            self.momentum,
        )


class MuonAdamW(torch.optim.AdamW):
    """AdamW, but groups that are `orthogonal` step by Muon.

    Such a parameter keeps its `momentum_buffer`, and `step` as AdamW's do, without which it loads no state.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float = 0.95) -> None:
        for group in groups:
            group["momentum"] = momentum
        super().__init__(groups, lr=lr, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = closure() if closure else None
        groups = self.param_groups
        self._orthogonal_step([group for group in groups if group["orthogonal"]])
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _orthogonal_step(self, groups: list[dict[str, Any]]) -> None:
        members = [(p, group) for group in groups for p in group["params"] if p.grad is not None]
        steps = orthogonalised([self._ahead(parameter, group["momentum"]) for parameter, group in members])
        for (parameter, group), step in zip(members, steps, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            # As large as a step of AdamW usually is.
            parameter.add_(step, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's mean of the gradients."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["step"], state["momentum_buffer"] = torch.zeros(()), torch.zeros_like(parameter)
        state["step"] += 1
        mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(mean, momentum)


def orthogonalised(matrices: list[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """The matrices with all of their singular values brought to about 1, between 0.7 and 1.2.

    Sharded matrices are gathered for it; of others, which every rank has, each rank takes its share.
    """
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    if ranks == 1 or not matrices or any(isinstance(matrix, DTensor) for matrix in matrices):
        return [orthogonal(matrix) for matrix in matrices]
    flat = torch.zeros(sum(matrix.numel() for matrix in matrices), device=matrices[0].device)
    parts = flat.split([matrix.numel() for matrix in matrices])
    by_size = sorted(range(len(matrices)), key=lambda i: -matrices[i].numel())
    for i in by_size[dist.get_rank() :: ranks]:
        parts[i].copy_(orthogonal(matrices[i]).flatten())
    dist.all_reduce(flat)  # adds zeros
    return [part.view_as(matrix) for part, matrix in zip(parts, matrices, strict=True)]


def orthogonal(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """One matrix, by Newton and Schulz's iteration."""
    if isinstance(matrix, DTensor):
        whole = orthogonal(matrix.full_tensor())
        return distribute_tensor(whole, matrix.device_mesh, matrix.placements, src_data_rank=None)
    is_wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if is_wide else matrix.T
    x = (x / x.norm().clamp(min=1e-7)).to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if is_wide else x.T).to(matrix.dtype)
