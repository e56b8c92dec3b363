"""Losses over a whole batch that only fits in memory micro-batch by micro-batch.

"Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache), arXiv:2101.06983, section 3.2:
run the model over all micro-batches without gradients, take the gradient of the loss at their joined outputs, then
run each again and send its part of that gradient through. Exact, if both runs see the same dropout masks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from vl.batch import Encoded, Reconstruction

#: Fields of `Encoded` that all micro-batches share; every other one has a row an example.
SHARED = ("logit_scale", "logit_bias")


def keep(output: Encoded, names: Collection[str]) -> Encoded:
    """The fields of an output that are named, without their graph."""
    found = {f.name: getattr(output, f.name) for f in fields(Encoded) if f.name in names}
    return Encoded(**{name: value.detach() for name, value in found.items() if value is not None})


def join(outputs: Sequence[Encoded]) -> Encoded:
    """The output of all examples of several micro-batches."""
    return Encoded(
        **{
            name: value if name in SHARED else torch.cat([getattr(output, name) for output in outputs])
            for name, value in tensors(outputs[0]).items()
        }
    )


def gradients(score: Callable[[Encoded], Tensor], outputs: Sequence[Encoded]) -> list[Encoded]:
    """The gradient of `score` of the joined output at each of the outputs; the shared fields' goes to the last."""
    joined = join(outputs)
    leaves = {name: value.detach().requires_grad_() for name, value in tensors(joined).items()}
    found = torch.autograd.grad(score(replace(joined, **leaves)), list(leaves.values()))
    parts = [Encoded() for _ in outputs]
    for name, gradient in zip(leaves, found, strict=True):
        if name in SHARED:
            parts[-1] = replace(parts[-1], **{name: gradient})
        else:
            pieces = gradient.split([len(getattr(output, name)) for output in outputs])
            parts = [replace(part, **{name: piece}) for part, piece in zip(parts, pieces, strict=True)]
    return parts


def send(gradient: Encoded, output: Encoded | Reconstruction) -> Tensor:
    """A number whose gradient at `output` is `gradient`."""
    return torch.stack([(getattr(output, name) * value).sum() for name, value in tensors(gradient).items()]).sum()


def tensors(output: Encoded | Reconstruction) -> dict[str, Tensor]:
    """The fields that are filled, by name."""
    return {f.name: value for f in fields(output) if (value := getattr(output, f.name)) is not None}


def select(output: Encoded, examples: int, chosen: Tensor) -> Encoded:
    """The output of some of the examples, each of which may have several rows."""
    return Encoded(
        **{
            name: value if name in SHARED else value.unflatten(0, (examples, -1))[chosen].flatten(0, 1)
            for name, value in tensors(output).items()
        }
    )
