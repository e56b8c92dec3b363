"""CIDEr-D and CIDEr: do a caption's n-grams weigh as much as in the captions of people?

"CIDEr: Consensus-based Image Description Evaluation", arXiv:1411.5726, sections 3 and 4. What coco-caption prints as
CIDEr, and what the field reports, is CIDEr-D with the document frequencies of the references it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import NamedTuple

from vl.metrics.captions import Words, ngrams

MAX_N = 4
SIGMA = 6.0
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class Frequencies:
    """In how many images' captions each n-gram occurs, and how many images there are."""

    counts: Mapping[Ngram, int]
    images: int

    @classmethod
    def of(cls, references: Sequence[Sequence[Words]]) -> Frequencies:
        """Those of the captions given."""
        counts: Counter[Ngram] = Counter()
        for texts in references:
            counts.update({gram for text in texts for n in range(1, MAX_N + 1) for gram in ngrams(text, n)})
        return cls(counts, len(references))

    def weigh(self, counts: Mapping[Ngram, int]) -> dict[Ngram, float]:
        """Counts times inverse document frequencies; an n-gram that no image has counts as if one had."""
        images, known = log(self.images), self.counts
        return {gram: count * (images - log(max(1, known.get(gram, 0)))) for gram, count in counts.items()}


class Vector(NamedTuple):
    """A caption's n-grams, weighed: one mapping and one length for each n, and its number of bigrams."""

    grams: list[dict[Ngram, float]]
    norms: list[float]
    bigrams: int


def vector(words: Words, frequencies: Frequencies) -> Vector:
    """A caption's vector."""
    grams = [frequencies.weigh(ngrams(words, n)) for n in range(1, MAX_N + 1)]
    norms = [sqrt(sum(weight**2 for weight in part.values())) for part in grams]
    return Vector(grams, norms, max(0, len(words) - 1))


class CiderD:
    """CIDEr-D against fixed references; it keeps their vectors, so that many candidates may be scored in turn.

    Args:
        references: one or more captions an image.
        frequencies: document frequencies; those of the references if not given. Self-critical training takes those of
            its training split.
    """

    def __init__(self, references: Sequence[Sequence[Words]], frequencies: Frequencies | None = None) -> None:
        self.frequencies = frequencies or Frequencies.of(references)
        self.references = [[vector(text, self.frequencies) for text in texts] for texts in references]

    def score(self, candidate: Words, image: int) -> float:
        """The score, 0 to 10, of one caption of image number `image`; coco-caption prints the mean over images."""
        mine = vector(candidate, self.frequencies)
        similar = [self.similarity(mine, theirs) for theirs in self.references[image]]
        return 10 * sum(similar) / len(similar)

    def scores(self, candidates: Sequence[Words]) -> list[float]:
        """The score of one caption for each image, in order."""
        return [self.score(candidate, image) for image, candidate in enumerate(candidates)]

    @classmethod
    def similarity(cls, a: Vector, b: Vector) -> float:
        """The mean cosine over n; weights are clipped at the reference's, other lengths are punished (equation 8)."""
        return exp(-((a.bigrams - b.bigrams) ** 2) / (2 * SIGMA**2)) * cls.cosine(a, b)

    @classmethod
    def cosine(cls, a: Vector, b: Vector) -> float:
        products = (cls.product(mine, theirs) for mine, theirs in zip(a.grams, b.grams, strict=True))
        norms = (x * y for x, y in zip(a.norms, b.norms, strict=True))
        return sum(p / norm if norm else p for p, norm in zip(products, norms, strict=True)) / MAX_N

    @staticmethod
    def product(mine: Mapping[Ngram, float], theirs: Mapping[Ngram, float]) -> float:
        return sum((min(weight, theirs[gram]) * theirs[gram] for gram, weight in mine.items() if gram in theirs), 0.0)


class Cider(CiderD):
    """The first form (section 3): neither clipped nor punished for its length. No stemming, as everywhere since."""

    @classmethod
    def similarity(cls, a: Vector, b: Vector) -> float:
        return cls.cosine(a, b)

    @staticmethod
    def product(mine: Mapping[Ngram, float], theirs: Mapping[Ngram, float]) -> float:
        return sum((weight * theirs[gram] for gram, weight in mine.items() if gram in theirs), 0.0)
