"""Prompts to pictures: a generator with its image tokenizer, and what reranks its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vl.batch import Batch
from vl.checkpoints.bundle import Bundle
from vl.data.sample import language_index
from vl.evaluation.generate import generate
from vl.evaluation.rerank import caption_scores, clip_scores
from vl.evaluation.sampling import Sampling
from vl.models.autoregressive import Autoregressive
from vl.models.image_tokenizer import ImageTokenizer


@dataclass(frozen=True)
class Painted:
    """Candidates of each prompt, in the order of their numbers; `scores` by the name of what ranks them."""

    codes: Int[Tensor, "p c n"]
    pixels: Float[Tensor, "p c 3 h w"]
    scores: dict[str, Float[Tensor, "p c"]]

    def best(self, by: str | None) -> Int[Tensor, " p"]:
        """The candidate to show: the best by a score, or the first."""
        return torch.zeros(len(self.codes), dtype=torch.long) if by is None else self.scores[by].argmax(1)


@dataclass(frozen=True)
class Painter:
    """What a text-to-image system consists of.

    Args:
        generator: an `Autoregressive` with its text tokenizer.
        tokenizer: turns its codes into pictures.
        clip: reranks by cosine; may be None.
        captioner: reranks by log p(prompt | picture); may be None.

    Raises:
        ValueError: a part is not what it should be, or the codes are not of this tokenizer.
    """

    generator: Bundle
    tokenizer: ImageTokenizer
    clip: Bundle | None = None
    captioner: Autoregressive | None = None

    def __post_init__(self) -> None:
        model = self.generator.model
        if not isinstance(model, Autoregressive) or self.generator.tokenizer is None:
            raise ValueError(f"{type(model).__name__} is no text-to-image model with a text tokenizer")
        check_codes(model, self.tokenizer)

    def prompts(self, texts: Sequence[str], languages: Sequence[str]) -> Batch:
        return Batch(text=self.generator.tokenizer.encode(list(texts), [language_index(name) for name in languages]))

    def paint(
        self,
        texts: Sequence[str],
        languages: Sequence[str],
        candidates: int = 1,
        sampling: Sampling | None = None,
        seed: int = 0,
        given: Int[Tensor, "p m"] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Painted:
        """Pictures of prompts and their scores by every reranker there is."""
        batch = self.prompts(texts, languages)
        codes = generate(self.generator.model, batch, candidates, sampling, seed, given, None, progress)  # type: ignore[arg-type]
        with torch.inference_mode():
            pixels = self.tokenizer.eval().decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        scores = {}
        if self.clip is not None:
            scores["clip"] = clip_scores(self.clip, list(texts), [language_index(name) for name in languages], pixels)
        if self.captioner is not None:
            scores["self"] = caption_scores(self.captioner.eval(), batch.text, codes)
        return Painted(codes, pixels, scores)


def check_codes(model: Autoregressive, tokenizer: ImageTokenizer) -> None:
    """Raises a ValueError where a model's codes are not this tokenizer's."""
    sequence = model.sequence
    if sequence.num_codes != tokenizer.num_codes:
        raise ValueError(f"the model knows {sequence.num_codes} codes, the image tokenizer {tokenizer.num_codes}")
    if sequence.codes_of and sequence.codes_of != tokenizer.fingerprint:
        raise ValueError(
            f"the model was trained on codes of the tokenizer {sequence.codes_of}; this one is {tokenizer.fingerprint}"
        )
