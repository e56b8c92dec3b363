"""A running mean of the weights.

"Mean teachers are better role models", arXiv:1703.01780, section 2; decay warmed up as in TensorFlow's
`ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """The running mean of a module's trainable parameters, each rank keeping its own shards.

    The means are buffers of the module they average, so they are saved, sharded and loaded with its weights.

    Args:
        decay: share of the mean kept at each step; fewer at the start: min(decay, (1 + step) / (10 + step)).
        validate: validate, test and predict with the mean instead of the weights.
    """

    def __init__(self, decay: float = 0.9999, validate: bool = True) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(f"decay is {decay}; it is a share in (0, 1)")
        self.decay, self.validate = decay, validate

    def attach(self, module: nn.Module) -> None:
        """Start at the parameters as they are now; call after they are sharded."""
        for name, parameter in _trainable(module):
            self.register_buffer(_buffer(name), parameter.detach().clone())

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the parameters after step `step`."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in _trainable(module):
            self.get_buffer(_buffer(name)).lerp_(parameter.detach(), share)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the parameters and their means; twice is nothing."""
        for name, parameter in _trainable(module):
            mean = self.get_buffer(_buffer(name))
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[None]:
        """The module with its means as parameters."""
        self.swap(module)
        try:
            yield
        finally:
            self.swap(module)


def averaged(state: dict[str, Tensor], prefix: str = "ema.") -> dict[str, Tensor]:
    """A module's saved state with its parameters replaced by their means, the means themselves left out."""
    own = [name for name in state if not name.startswith(prefix)]
    return {name: state.get(prefix + _buffer(name), state[name]) for name in own}


def _trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _buffer(name: str) -> str:
    """A buffer's name must not hold dots."""
    return name.replace(".", "/")
