"""The losses of one optimiser step, over all ranks and micro-batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vl.batch import Encoded, Loss, Reconstruction
from vl.ranks import gather_objects, sum_over_ranks, world_size
from vl.train.whole_batch import tensors

Output = Encoded | Reconstruction


class NonFinite(RuntimeError):
    """A loss or a gradient is infinite or not a number, on some rank; raised alike on all of them."""


@dataclass
class Tally:
    """Turns sums and counts into the loss to train with, and remembers them for the log."""

    step: int
    weights: Mapping[str, float]
    sums: dict[str, Tensor] = field(default_factory=dict)

    def mean(self, losses: Mapping[str, Loss], output: Output | None, keys: Sequence[str]) -> Tensor:
        """The weighted sum of the losses, each over its count on all ranks.

        Gradients are averaged over ranks later, so this rank's sum is multiplied by their number. One all-reduce
        carries all sums and counts; a sum that is not finite on one rank is so on all of them after it.

        Raises:
            NonFinite: a loss is not finite on some rank; names the samples.
        """
        if not losses:
            return torch.zeros(())
        pairs = {
            f"{name}/{metric}": torch.stack([total.detach().float(), count.float()])
            for name, loss in losses.items()
            for metric, (total, count) in {"loss": (loss.total, loss.count), **loss.metrics}.items()
        }
        summed = dict(zip(pairs, sum_over_ranks(torch.stack(list(pairs.values()))), strict=True))
        for name in losses:
            self.require_finite(f"loss of {name}", summed[f"{name}/loss"][0], output, keys)
        for name, pair in summed.items():
            self.sums[name] = self.sums.get(name, 0) + pair
        means = [
            self.weights[name] * loss.total * world_size() / summed[f"{name}/loss"][1].clamp(min=1)
            for name, loss in losses.items()
        ]
        return torch.stack(means).sum()

    def require_finite(self, what: str, value: Tensor, output: Output | None, keys: Sequence[str]) -> None:
        """Stop if a value that is equal on all ranks is not finite, naming samples of all ranks."""
        if not value.isfinite():
            raise NonFinite(f"step {self.step}: the {what} is {float(value)}; {blame(output, keys)}")

    def results(self) -> dict[str, Tensor]:
        """The mean of every loss and metric over all ranks and micro-batches, and the weighted `loss`."""
        means = {name: total / count.clamp(min=1) for name, (total, count) in self.sums.items()}
        losses = [weight * means[f"{name}/loss"] for name, weight in self.weights.items() if f"{name}/loss" in means]
        return means | {"loss": torch.stack(losses).sum()}


def blame(output: Output | None, keys: Sequence[str]) -> str:
    """`samples a, b on rank 0; ...`: those whose output is not finite, or every one if the output is finite."""
    values = tensors(output).values() if output is not None else ()
    rows = [value.flatten(1) for value in values if value.ndim > 1 and len(value) == len(keys)]
    broken = tuple(key for i, key in enumerate(keys) if not all(row[i].isfinite().all() for row in rows))
    found, everyone = zip(*gather_objects((broken, tuple(keys))), strict=True)
    named = found if any(found) else everyone
    return "; ".join(f"samples {', '.join(names)} on rank {rank}" for rank, names in enumerate(named) if names)
