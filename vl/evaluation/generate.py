"""Generation: prompts to pictures' codes.

The noise of a candidate is a function of (seed, candidate) alone. In fp32 its codes are therefore the same whatever it
is drawn together with, up to ties within rounding; in bf16 rounding depends on the batch and the codes may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vl.batch import Batch, Text
from vl.draw import Draw
from vl.evaluation.sampling import Sampling
from vl.models.autoregressive import Autoregressive
from vl.models.decoding import Decoder


@torch.inference_mode()
def generate(
    model: Autoregressive,
    prompts: Batch,
    candidates: Sequence[int] | int = 1,
    sampling: Sampling | None = None,
    seed: int = 0,
    given: Int[Tensor, "p m"] | None = None,
    length: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Int[Tensor, "p c n"]:
    """Codes of some candidates for each prompt.

    Args:
        model: a text-to-image model; it is run in evaluation mode.
        prompts: their `text`, and what else the model's sequence begins with.
        candidates: the numbers of the candidates, or how many (from 0).
        sampling: how codes are drawn.
        seed: of the noise.
        given: the first codes of each prompt's picture, such as its upper part; where one is -1 it is drawn.
        length: codes to stop after; the whole picture by default.
        progress: called with (codes done, codes) after each.
    """
    sampling, numbers = sampling or Sampling(), list(range(candidates) if isinstance(candidates, int) else candidates)
    model.eval()
    count, total = len(prompts.text.ids), length or model.sequence.num_image
    noise = candidate_noise(seed, numbers, model.sequence.num_image).repeat(count, 1).to(prompts.text.ids.device)
    guided = sampling.guidance != 1
    decoder = Decoder(model, _with_empty(prompts) if guided else prompts, len(numbers))
    codes = torch.full((count * len(numbers), total), -1, device=prompts.text.ids.device)
    if given is not None:
        codes[:, : given.shape[1]] = given.repeat_interleave(len(numbers), 0)[:, :total]
    for i in range(total):
        if bool((codes[:, i] < 0).any()):
            drawn = sampling.draw(_logits(decoder, sampling.guidance), noise[:, i])
            codes[:, i] = torch.where(codes[:, i] < 0, drawn, codes[:, i])
        if i + 1 < total:
            decoder.step(codes[:, i].repeat(2) if guided else codes[:, i])
        if progress:
            progress(i + 1, total)
    return codes.unflatten(0, (count, len(numbers)))


def candidate_noise(seed: int, candidates: Sequence[int], length: int) -> Float[Tensor, "c n"]:
    """A uniform number for each token of each candidate."""
    return Draw.of(seed, 0, 0, torch.tensor(list(candidates))).fold("candidate").uniform(length)


def _logits(decoder: Decoder, guidance: float) -> Float[Tensor, "b k"]:
    logits = decoder.logits()
    if guidance == 1:
        return logits
    told, untold = logits.chunk(2)
    return untold + guidance * (told - untold)


def _with_empty(prompts: Batch) -> Batch:
    """The prompts, then as many without text."""
    text = prompts.text
    mask = text.mask.clone()
    mask[:, 1:] = False
    targets = {
        name: value.repeat(2, *[1] * (value.ndim - 1))
        for name, value in prompts.targets.items()
        if torch.is_tensor(value)
    }
    return replace(prompts, text=Text(text.ids.repeat(2, 1), torch.cat([text.mask, mask])), targets=targets)
