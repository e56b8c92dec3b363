"""The optimiser of a run: which parameters decay, at what learning rate, on what schedule.

"Decoupled Weight Decay Regularization", arXiv:1711.05101. Layer-wise decay as in "BEiT", arXiv:2106.08254, appendix.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from math import cos, pi, prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vl.models.base import VLModel

#: Parts of the names of parameters that say where or which, not how much: they never decay, whatever their shape.
NO_DECAY = (
    "pos_embed",
    "position_embedding",
    "positional_embedding",
    "relative_position",
    "rel_pos",
    "class_embedding",
    "cls_token",
    "cls_emb",
    "reg_token",
    "token_type_embedding",
    "logit_scale",
    "logit_bias",
)


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate and a weight decay; `orthogonal` ones are for Muon."""

    lr: float
    weight_decay: float
    orthogonal: bool
    names: tuple[str, ...]
    count: int

    def __str__(self) -> str:
        names = ", ".join(self.names[:3]) + (", ..." if len(self.names) > 3 else "")
        kind = "Muon, " if self.orthogonal else ""
        return f"{kind}lr {self.lr:.3g}, decay {self.weight_decay:g}: {self.count:,} in {len(self.names)} ({names})"


class AdamW:
    """AdamW with warmup, a schedule, decay exemption, layer-wise decay and clipping.

    The schedule is a function of the step alone, so nothing of it is in a checkpoint, and a resumed run follows the
    configuration it is resumed with.

    Args:
        lr: the peak learning rate.
        weight_decay: decay of matrices; vectors, norms, biases, positions and temperatures never decay.
        betas: decay of the two running means.
        eps: added to the root of the second.
        warmup: steps of linear warmup, or below 1 their share of all steps.
        schedule: what follows the warmup, down to `min_lr`.
        cooldown: steps at the end of a constant schedule in which it falls linearly to `min_lr`, or below 1 their share
            of all steps: open_clip's const-cooldown ("Scaling Vision Transformers", arXiv:2106.04560, section 3.5).
        min_lr: the last learning rate, as a share of the peak.
        milestones: factors on the learning rate from a step on, such as {3000: 0.3}, as torch's MultiStepLR has them.
        layer_decay: factor on the learning rate for each block further from the output.
        clip_norm: the largest norm of the whole gradient; None for no clipping.
        lr_scale: factors on the learning rate of the parameters whose names match, such as {"objectives.*": 10}.
    """

    def __init__(
        self,
        lr: float,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        warmup: int | float = 0.05,
        schedule: Literal["cosine", "linear", "constant"] = "cosine",
        cooldown: int | float = 0,
        min_lr: float = 0.0,
        milestones: Mapping[int, float] | None = None,
        layer_decay: float = 1.0,
        clip_norm: float | None = None,
        lr_scale: Mapping[str, int | float] | None = None,
    ) -> None:
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay is {layer_decay}; it is a factor in (0, 1], 1 for none")
        if clip_norm is not None and clip_norm <= 0:
            raise ValueError(f"clip_norm is {clip_norm}; it must be positive, or null for no clipping")
        self.lr, self.weight_decay, self.betas, self.eps = lr, weight_decay, betas, eps
        if cooldown and schedule != "constant":
            raise ValueError(f"cooldown goes with schedule constant; {schedule} falls all the time")
        self.warmup, self.schedule, self.cooldown, self.min_lr = warmup, schedule, cooldown, min_lr
        self.milestones = dict(milestones or {})
        self.layer_decay, self.clip_norm, self.lr_scale = layer_decay, clip_norm, dict(lr_scale or {})

    def groups(self, module: nn.Module, model: VLModel) -> list[Group]:
        """The groups of the trainable parameters of `module`, whose attribute `model` is the model.

        Raises:
            ValueError: a pattern of `lr_scale` matches no parameter.
        """
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        for pattern in self.lr_scale:
            if not any(fnmatch(name, pattern) for name in parameters):
                raise ValueError(
                    f"lr_scale names {pattern!r}, which matches no trainable parameter; names are such as "
                    f"{', '.join(list(parameters)[:3])}"
                )
        exempt, depth, orthogonal = _exempt(module), _Depth(model), self.orthogonal(model)
        members = defaultdict(list)
        for name, parameter in parameters.items():
            steps = depth.steps_from_output(name.removeprefix("model.")) if name.startswith("model.") else 0
            scale = [factor for pattern, factor in self.lr_scale.items() if fnmatch(name, pattern)]
            lr = self.lr * self.layer_decay**steps * (scale[-1] if scale else 1.0)
            decay = 0.0 if name in exempt else self.weight_decay
            members[lr, decay, parameter in orthogonal].append(name)
        return [
            Group(*key, tuple(names), sum(parameters[name].numel() for name in names))
            for key, names in sorted(members.items(), reverse=True)
        ]

    def orthogonal(self, model: VLModel) -> set[Tensor]:
        """The parameters whose steps are made orthogonal: for AdamW none."""
        return set()

    def build(self, groups: list[Group], parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser over the parameters of each group; `update` sets their rates."""
        members = [{"params": [parameters[name] for name in group.names]} for group in groups]
        return torch.optim.AdamW(members, lr=self.lr, fused=True)

    def update(self, optimizer: torch.optim.Optimizer, groups: list[Group], step: int, total: int) -> float:
        """Set what step `step` of `total` trains with, over whatever a checkpoint held; returns the lr's factor."""
        factor = self.factor(step, total)
        for target, group in zip(optimizer.param_groups, groups, strict=True):
            target.update(lr=group.lr * factor, weight_decay=group.weight_decay, betas=self.betas, eps=self.eps)
        return factor

    def require_length(self, steps: int | float) -> int:
        """The number of steps of a run, which a schedule must know.

        Raises:
            ValueError: the run has no end.
        """
        if steps == float("inf"):
            raise ValueError("the schedule needs the length of the run: set trainer.max_steps or trainer.max_epochs")
        return int(steps)

    def factor(self, step: int, total: int) -> float:
        """The learning rate of a step as a share of its peak."""
        warmup, cooldown = (share * total if share < 1 else share for share in (self.warmup, self.cooldown))
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        held = min(1.0, max(0, total - step) / cooldown) if cooldown else 1.0
        shape = {"cosine": (1 + cos(pi * done)) / 2, "linear": 1 - done, "constant": held}[self.schedule]
        drop = prod(factor for milestone, factor in self.milestones.items() if step >= milestone)
        return drop * (self.min_lr + (1 - self.min_lr) * shape)

    def clip(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Clip the gradients in place, sharded ones too; their norm before, over all ranks."""
        trained = [p for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in trained])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(trained, self.clip_norm, norm)
        return norm


class _Depth:
    """How many blocks lie between a parameter and the output of its part of the model (a tower, a trunk)."""

    def __init__(self, model: VLModel) -> None:
        blocks = {id(block) for block in model.blocks()}
        self.model = model
        self.blocks = Counter(name.split(".")[0] for name, part in model.named_modules() if id(part) in blocks)

    def steps_from_output(self, name: str) -> float:
        layers = self.blocks.get(name.split(".")[0], max(self.blocks.values(), default=0))
        return (1 - self.model.depth_of(name)) * (layers + 1)


def _exempt(module: nn.Module) -> set[str]:
    """Names of the parameters that never decay: vectors (biases, norms, tokens), positions, temperatures."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.ndim <= 1 or any(part in name for part in NO_DECAY)
    }
