"""Who may look at whom in a row of text followed by image tokens: full, row, column and convolutional attention.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, appendix B.1 and figure 11. Everything is causal, and image
tokens always see the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Kind = Literal["full", "row", "column", "conv"]
KINDS: tuple[Kind, ...] = ("full", "row", "column", "conv")
#: Side of the convolutional mask's window.
KERNEL = 11


def image_mask(kind: Kind, num_text: int, side: int) -> Bool[Tensor, "l l"]:
    """True where a token (first axis) may look at another, for `num_text` text and then `side`² image tokens.

    row: the previous `side` tokens and itself; column: those straight above; conv: those before it in the window of
    `KERNEL` x `KERNEL` around it.
    """
    place = torch.arange(num_text + side * side)
    image = place - num_text
    row, column = image // side, image % side
    back = image[:, None] - image
    down, right = row[:, None] - row, (column[:, None] - column).abs()
    near = {
        "full": torch.ones_like(back, dtype=torch.bool),
        "row": back <= side,
        "column": back % side == 0,
        "conv": (down <= KERNEL // 2) & (right <= KERNEL // 2),
    }[kind]
    is_text = image < 0
    return (place[:, None] >= place) & (near | is_text | is_text[:, None])


def seen(kind: Kind, image: int, side: int) -> slice | Int[Tensor, " m"]:
    """Which image tokens the image token number `image` looks at, itself included: what a cache has to be read for."""
    if kind == "full":
        return slice(0, image + 1)
    if kind == "row":
        return slice(max(0, image - side), image + 1)
    if kind == "column":
        return slice(image % side, image + 1, side)
    row, column = divmod(image, side)
    reach = KERNEL // 2
    columns = torch.arange(max(0, column - reach), min(side, column + reach + 1))
    rows = torch.arange(max(0, row - reach), row + 1)
    places = (rows[:, None] * side + columns).flatten()
    return places[places <= image]


def dalle_pattern(layers: int) -> tuple[Kind, ...]:
    """DALL-E's: with layers counted from 1, columns where (i - 2) mod 4 = 0, else rows; the last is convolutional."""
    kinds: list[Kind] = ["column" if i % 4 == 2 else "row" for i in range(1, layers)]
    return (*kinds, "conv")


def pattern(name: Literal["dalle"] | Sequence[Kind], layers: int) -> tuple[Kind, ...]:
    """The kind of every layer: DALL-E's pattern, or a list that is repeated."""
    return dalle_pattern(layers) if name == "dalle" else tuple(name[i % len(name)] for i in range(layers))
