"""The class of every picture: from its `cls` member, or from its caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from vl.data.rows import lines
from vl.data.sample import Sample
from vl.evaluation.embed import captions_of


def read_classes(path: str | Path) -> list[str]:
    """Class names, one a line, in the order that `cls` members count.

    Raises:
        ValueError: the file is missing, is not UTF-8, holds no name, or one twice.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; it should hold one class name a line")
    names = [line.strip() for line in lines(path) if line.strip()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{path}: needs class names, one a line, none twice; it has {len(names)}")
    return names


def label_of(sample: Sample, language: str, classes: Sequence[str] | None = None) -> str:
    """The class name of a sample: `classes` at the number in its `cls` member, else its first caption.

    Raises:
        ValueError: it has neither, or its `cls` is not an index of `classes`.
    """
    if "cls" in sample.members and classes:
        number = sample.members["cls"].decode(errors="replace").strip()
        if not number.isdecimal() or int(number) >= len(classes):
            raise ValueError(f"sample {sample.key}: class {number!r}, but there are {len(classes)} class names")
        return classes[int(number)]
    captions = captions_of(sample, language)
    if not captions:
        raise ValueError(f"sample {sample.key} has no class: a cls member with --classes, or a caption in {language!r}")
    return captions[0].text


def read_labels(
    samples: Sequence[Sample], language: str, classes: Sequence[str] | None = None
) -> tuple[list[str], Int[Tensor, " i"]]:
    """The class names, and the number of every sample's class; without `classes`, the names are those that occur.

    Raises:
        ValueError: a sample has no class, or one that is not in `classes`.
    """
    labels = [label_of(sample, language, classes) for sample in samples]
    names = list(classes) if classes else sorted(set(labels))
    numbers = {name: i for i, name in enumerate(names)}
    strange = [label for label in labels if label not in numbers]
    if strange:
        raise ValueError(f"{len(strange)} of {len(labels)} pictures have a class that is not listed, as {strange[0]!r}")
    return names, torch.tensor([numbers[label] for label in labels])
