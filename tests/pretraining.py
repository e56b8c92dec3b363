"""Ragged batches with everything pretraining objectives read, and single examples of them without any padding."""

from dataclasses import replace

import torch
from streams import build, ragged

from vl.draw import Draw

CLASSES, ATTRIBUTES, MASK, FIRST = 7, 4, 2, 5


def full(words=(5, 9, 4, 7, 6, 8), regions=(4, 1, 8, 3, 5, 6), matched=(1, 1, 0, 1, 0, 1), answers=(), seed=1):
    batch = ragged(words, regions, seed=seed)
    generator = torch.Generator().manual_seed(seed + 4)

    def rand(*size):
        return torch.rand(*batch.visual.mask.shape, *size, generator=generator) + 0.01

    # The first and the last token are special.
    place = torch.arange(max(words))
    inside = (place > 0) & (place < torch.tensor(words)[:, None] - 1)
    text = replace(batch.text, words=torch.where(inside, place - 1, -1))
    shares = {"class_probs": rand(CLASSES), "attribute_probs": rand(ATTRIBUTES + 1)}
    shares = {name: value / value.sum(-1, keepdim=True) for name, value in shares.items()}
    return replace(
        batch,
        text=text,
        visual=replace(batch.visual, **shares, confidence=rand()),
        matched=torch.tensor(matched, dtype=torch.bool),
        draw=Draw.of(3, seed, 0, torch.arange(len(words))),
        targets={"answers": answers} if answers else {},
    )


def alone(batch, row):
    """Example `row` with no padding and no companions."""
    return take(batch, slice(row, row + 1))


def take(batch, rows):
    """Some of the examples, padded to their longest."""
    lengths = {name: int(getattr(batch, name).mask[rows].sum(1).max()) for name in ("text", "visual")}
    parts = {}
    for name, length in lengths.items():
        value = getattr(batch, name)
        tensors = {field: tensor for field, tensor in vars(value).items() if isinstance(tensor, torch.Tensor)}
        parts[name] = type(value)(**{field: tensor[rows, :length] for field, tensor in tensors.items()})
    return replace(
        batch,
        **parts,
        matched=batch.matched[rows],
        keys=batch.keys[rows],
        draw=Draw(batch.draw.key, batch.draw.examples[rows]),
        targets={name: value[rows] for name, value in batch.targets.items()},
    )


def prepared(objective, name="uniter"):
    """A tiny model and the objective, both with weights that matter."""
    model = build(name)
    objective.setup(model)
    shared = {id(p) for p in model.parameters()}
    with torch.no_grad():
        for parameter in objective.parameters():
            if id(parameter) not in shared:
                parameter.add_(torch.randn_like(parameter) * 0.15)
    return model, objective.eval()


def run(model, objective, batch):
    """The loss of a batch, what the model put out, and the target."""
    corrupted, target = objective.corrupt(batch, batch.draw.fold("objective"))
    output = model(corrupted)
    return objective(output, corrupted, target), output, target
