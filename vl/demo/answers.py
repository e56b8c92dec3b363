"""What the demo answers, without its page: how likely labels are for a picture, and what a gallery holds.

Every request comes from outside: counts, lengths and sizes are bounded here, whatever the page allows.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch
from vl.data.sample import Sample
from vl.demo.gallery import MAX_BYTES, Gallery, Hit
from vl.evaluation.embed import Embedder
from vl.evaluation.prompts import TEMPLATES
from vl.evaluation.zero_shot_classification import class_embeddings

MAX_LABELS = 50
MAX_CHARACTERS = 200
NUM_HITS = 12
_SEPARATORS = re.compile(r"[,\uff0c\u3001;\uff1b\n]")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


class Refusal(ValueError):
    """A request that is not answered; `reason` is a key of `vl.demo.words.WORDS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Answers:
    """Zero-shot classification and search with one model. Texts are English, or Chinese where a character is."""

    embedder: Embedder
    gallery: Gallery

    def classify(self, picture: str | None, labels: str, prompts: str) -> dict[str, float]:
        """The probability of each label, separated by (Chinese) commas, semicolons or lines.

        Args:
            picture: Path of an uploaded file.
            labels: Taken once each.
            prompts: A name in `vl.evaluation.prompts.TEMPLATES`.

        Raises:
            Refusal: there is no readable picture, no label, or too much of them.
        """
        names = read_labels(labels)
        image = self._image(picture)
        rows = torch.empty(len(names), image.shape[1])
        for language in ("en", "zh"):
            if mine := [i for i, name in enumerate(names) if language_of(name) == language]:
                chosen = [names[i] for i in mine]
                rows[mine] = class_embeddings(self.embedder, chosen, TEMPLATES[prompts][language], language)
        probs = (self._scale * image @ rows.T)[0].softmax(0)
        return dict(zip(names, probs.tolist(), strict=True))

    def search_words(self, words: str) -> list[Hit]:
        """The pictures of the gallery closest to a text.

        Raises:
            Refusal: the text is empty or too long.
        """
        words = words.strip()
        if not words:
            raise Refusal("no_words")
        if len(words) > MAX_CHARACTERS:
            raise Refusal("long_text")
        return self.gallery.search(self.embedder.texts([words], language_of(words)), NUM_HITS)

    def search_picture(self, picture: str | None) -> list[Hit]:
        """The pictures of the gallery closest to an uploaded one.

        Raises:
            Refusal: there is no readable picture.
        """
        return self.gallery.search(self._image(picture), NUM_HITS)

    def foreign(self, texts: Sequence[str]) -> bool:
        """Whether the model's vocabulary lacks most words of a text: it is unknown to it, or spelt in bytes."""
        tokenizer = self.embedder.bundle.tokenizer
        tokens = tokenizer.lengths(texts) - 2  # start and end
        in_bytes = any(count > len(text) for count, text in zip(tokens, texts, strict=True))
        return in_bytes or any(tokenizer.unknown_rate([text]) >= 0.5 for text in texts)

    def _image(self, picture: str | None) -> Float[Tensor, "1 e"]:
        if picture is None:
            raise Refusal("no_picture")
        if Path(picture).stat().st_size > MAX_BYTES:
            raise Refusal("bad_picture")
        try:
            return self.embedder.images([Sample("upload", {"png": Path(picture).read_bytes()})]).emb
        except ValueError as error:
            warnings.warn(f"refused an upload: {error}", stacklevel=2)
            raise Refusal("bad_picture") from error

    @cached_property
    def _scale(self) -> float:
        """The model's own factor on cosines; it is given with any output."""
        with torch.inference_mode():
            text = self.embedder.bundle.tokenizer.encode(["a"]).to(self.embedder.device)
            scale = self.embedder.bundle.model(Batch(text=text)).logit_scale
        return 1.0 if scale is None else float(scale)


def read_labels(labels: str) -> list[str]:
    """Labels as typed, in their order, each once.

    Raises:
        Refusal: there are none, too many, or one is too long.
    """
    if len(labels) > MAX_LABELS * MAX_CHARACTERS:
        raise Refusal("many_labels")
    names = list(dict.fromkeys(filter(None, map(str.strip, _SEPARATORS.split(labels)))))
    if not names:
        raise Refusal("no_labels")
    if len(names) > MAX_LABELS:
        raise Refusal("many_labels")
    if max(map(len, names)) > MAX_CHARACTERS:
        raise Refusal("long_text")
    return names


def language_of(text: str) -> str:
    """zh for a text with a Chinese character, en for any other."""
    return "zh" if _CHINESE.search(text) else "en"
