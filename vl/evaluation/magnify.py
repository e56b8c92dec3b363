"""Super-resolution of codes by overlapping windows, each begun from what its neighbours have drawn.

"CogView: Mastering Text-to-Image Generation via Transformers", arXiv:2105.13290, section 3.1; order of the windows and
their rows as in the release.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from vl.batch import Batch, Text
from vl.evaluation.generate import generate
from vl.evaluation.sampling import Sampling
from vl.models.autoregressive import Autoregressive

#: Row and column of each window, and how many of 32 rows of it are drawn.
WINDOWS = ((0, 0, 18), (0, 1, 30), (0, 2, 30), (1, 1, 30), (1, 0, 30), (1, 2, 30), (2, 0, 32), (2, 1, 32), (2, 2, 32))


def magnify(
    model: Autoregressive, text: Text, codes: Int[Tensor, "b n"], sampling: Sampling | None = None, seed: int = 0
) -> Int[Tensor, "b m"]:
    """Codes of pictures with twice as many a side.

    Args:
        model: trained on `CogViewMagnify`: a window of half the picture becomes as many codes a side as the picture.
        text: what each picture shows.
        codes: `side`² of each picture.
        sampling: how codes are drawn.
        seed: of the noise; window w of a picture draws as its candidate w.

    Raises:
        ValueError: the model's `side` is not that of the pictures, or odd.
    """
    side = round(codes.shape[1] ** 0.5)
    if side != model.sequence.side or side % 2:
        raise ValueError(f"pictures of {side} codes a side need a model of that side, an even one")
    coarse = codes.unflatten(1, (side, side))
    fine = codes.new_full((len(codes), 2 * side, 2 * side), -1)
    for number, (row, column, rows) in enumerate(WINDOWS):
        rows = rows * side // 32
        top, left = row * side // 4, column * side // 4
        window = coarse[:, top : top + side // 2, left : left + side // 2].flatten(1)
        part = fine[:, 2 * top : 2 * top + rows, 2 * left : 2 * left + side]
        prompts = Batch(text=text, targets={"coarse": window})
        drawn = generate(model, prompts, [number], sampling, seed, given=part.flatten(1), length=rows * side)
        part.copy_(drawn[:, 0].unflatten(1, (rows, side)))
    return fine.flatten(1)


def coarsen(pixels: Tensor) -> Tensor:
    """Pictures of half the side, as the coarse codes are made from."""
    return torch.nn.functional.avg_pool2d(pixels, 2)
