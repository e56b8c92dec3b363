"""BLEU-1 to 4 and ROUGE-L of captions, as coco-caption counts them (CIDEr has a file of its own).

"BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002; "ROUGE: A Package for Automatic Evaluation
of Summaries", ACL 2004. Captions are lists of words, as `vl.metrics.ptb.tokenize` makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, prod

Words = Sequence[str]
#: In ROUGE-L recall weighs beta squared times as much as precision.
ROUGE_BETA = 1.2


def ngrams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n words occurs."""
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], max_n: int = 4) -> list[float]:
    """BLEU-1 to BLEU-`max_n` of a corpus, in 0..1.

    The brevity penalty takes the reference whose length is closest (the shorter of two equally close ones). Counts
    are smoothed by 1e-15 over 1e-9, as coco-caption's are, so that no n-gram in common gives nearly 0.

    Args:
        candidates: one caption an image.
        references: one or more captions an image.
    """
    length = reference_length = 0
    right, given = [0] * max_n, [0] * max_n
    for candidate, texts in zip(candidates, references, strict=True):
        length += len(candidate)
        reference_length += min((abs(len(text) - len(candidate)), len(text)) for text in texts)[1]
        for n in range(1, max_n + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for text in texts:
                most |= ngrams(text, n)
            right[n - 1] += (ngrams(candidate, n) & most).total()
            given[n - 1] += max(0, len(candidate) - n + 1)
    ratio = (length + 1e-15) / (reference_length + 1e-9)
    penalty = exp(1 - 1 / ratio) if ratio < 1 else 1.0
    precisions = [(r + 1e-15) / (g + 1e-9) for r, g in zip(right, given, strict=True)]
    return [penalty * prod(precisions[:n]) ** (1 / n) for n in range(1, max_n + 1)]


def rouge_l(candidate: Words, references: Sequence[Words]) -> float:
    """ROUGE-L of one caption, in 0..1: best precision and best recall, not necessarily of one reference."""
    candidate, references = candidate or [""], [text or [""] for text in references]
    common = [common_words(candidate, text) for text in references]
    precision = max(common) / len(candidate)
    recall = max(number / len(text) for number, text in zip(common, references, strict=True))
    if not common or not max(common):
        return 0.0
    beta = ROUGE_BETA**2
    return (1 + beta) * precision * recall / (recall + beta * precision)


def common_words(a: Words, b: Words) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return row[-1]
