"""Retrieval: any-hit recall at K and median rank, and bootstrap intervals of means and of ratios.

The protocol of the field: an image query counts as found at K if at least one of its captions is among the K best
texts (true recall, the share of its captions, is another number). Candidates that score exactly as the right one are
counted before it, so that a model that says the same of everything finds nothing. With `groups` a query has several
right answers: what carries its group number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

KS = (1, 5, 10)
#: Scores this close are equal: the same vectors at another place of a matrix product differ by some 1e-7.
TIE = 1e-6
#: Scores of one chunk of queries against the whole gallery: (first, last query) -> (last - first, gallery).
Scores = Callable[[int, int], Tensor]


def ranks(
    scores: Scores, queries: Int[Tensor, " q"], gallery: Int[Tensor, " g"], chunk: int = 256, tie: float = TIE
) -> Int[Tensor, " q"]:
    """The rank (from 1) of each query's best right candidate, ties with wrong ones counted against it.

    Args:
        scores: fp32 scores of a chunk of queries against the gallery, higher is better; called once a chunk, so
            memory stays linear in the gallery.
        queries: the group of each query.
        gallery: the group of each candidate.
        chunk: queries scored at a time.
        tie: a wrong candidate that scores at most this much lower than the right one is counted before it.

    Raises:
        ValueError: a query has no right candidate, or a score is not a number.
    """
    lost = ~torch.isin(queries, gallery)
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} of {len(queries)} queries have no right candidate in the gallery, "
            f"the first is query {int(lost.nonzero()[0])}"
        )
    found = []
    for first in range(0, len(queries), chunk):
        last = min(first + chunk, len(queries))
        block = scores(first, last).float()
        if block.isnan().any():
            raise ValueError(f"queries {first} to {last - 1}: a score is NaN")
        right = queries[first:last, None] == gallery[None]
        best = block.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        found.append(((block >= best - tie) & ~right).sum(1) + 1)
    return torch.cat(found) if found else queries.new_zeros(0)


def cosine_scores(queries: Float[Tensor, "q e"], gallery: Float[Tensor, "g e"]) -> Scores:
    """Scores for `ranks` from embeddings of unit length, computed in fp32."""
    transposed = gallery.float().T
    return lambda first, last: queries[first:last].float() @ transposed


@dataclass(frozen=True)
class Retrieval:
    """The ranks of one model in both directions, and the group of every query in them."""

    text_to_image: Int[Tensor, " t"]
    image_to_text: Int[Tensor, " i"]
    text_groups: Int[Tensor, " t"]
    image_groups: Int[Tensor, " i"]

    def metrics(self, ks: Sequence[int] = KS) -> dict[str, float]:
        """Recalls in percent and median ranks, as `text_to_image/R@1`, and the mean of all recalls."""
        directions = {"text_to_image": self.text_to_image, "image_to_text": self.image_to_text}
        recalls = {
            f"{name}/R@{k}": 100 * hits(found, k).mean().item() for name, found in directions.items() for k in ks
        }
        medians = {f"{name}/median_rank": found.double().quantile(0.5).item() for name, found in directions.items()}
        return {**recalls, **medians, "mean_recall": sum(recalls.values()) / len(recalls)}

    def score(self, ks: Sequence[int] = KS) -> Callable[[Shaped[Tensor, "s g"]], Float[Tensor, " s"]]:
        """The mean recall in percent as a function of how often each group is drawn (for `bootstrap`)."""
        parts = [
            (groups, torch.stack([hits(found, k) for k in ks]).mean(0))
            for found, groups in ((self.text_to_image, self.text_groups), (self.image_to_text, self.image_groups))
        ]

        def mean_recall(weights: Tensor) -> Tensor:
            drawn = [(weights[:, groups].double(), hit) for groups, hit in parts]
            return 100 * torch.stack([(w * hit).sum(1) / w.sum(1) for w, hit in drawn]).mean(0)

        return mean_recall


def retrieve(
    text: Float[Tensor, "t e"],
    image: Float[Tensor, "i e"],
    text_groups: Int[Tensor, " t"],
    image_groups: Int[Tensor, " i"],
    chunk: int = 256,
) -> Retrieval:
    """Both directions from embeddings of unit length; a text and an image of one group belong together."""
    return Retrieval(
        ranks(cosine_scores(text, image), text_groups, image_groups, chunk),
        ranks(cosine_scores(image, text), image_groups, text_groups, chunk),
        text_groups,
        image_groups,
    )


def hits(found: Int[Tensor, " q"], k: int) -> Float[Tensor, " q"]:
    """1 for every query whose right candidate is among the K best, else 0."""
    return (found <= k).double()


@dataclass(frozen=True)
class Interval:
    """A value and its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def _resamples(groups: int, samples: int, seed: int, chunk: int = 100) -> Iterator[Tensor]:
    """How often each group is drawn in each resample, in chunks of rows (chunk, groups)."""
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, samples, chunk):
        drawn = torch.randint(groups, (min(chunk, samples - first), groups), generator=generator)
        yield torch.zeros_like(drawn).scatter_add_(1, drawn, torch.ones_like(drawn))


def bootstrap(
    score: Callable[[Tensor], Tensor],
    groups: int,
    against: Callable[[Tensor], Tensor] | None = None,
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a score, or of its ratio to another model's on the same resamples (paired).

    What is drawn with replacement is the group (an image with its captions), which keeps the two directions and
    several captions of one image together. A resample in which the other model scores 0 counts as an infinite ratio.

    Args:
        score: (samples, groups) counts -> one score a sample, as `Retrieval.score` makes it.
        groups: how many groups there are.
        against: the other model's score.
    """
    every = torch.ones(1, groups, dtype=torch.int64)

    def figure(weights: Tensor) -> Tensor:
        return score(weights) if against is None else score(weights) / against(weights)

    drawn = torch.cat([figure(weights) for weights in _resamples(groups, samples, seed)])
    drawn = drawn[~drawn.isnan()].sort().values
    if not len(drawn):
        return Interval(figure(every).item(), float("nan"), float("nan"))
    tail = round((1 - level) / 2 * (len(drawn) - 1))
    return Interval(figure(every).item(), drawn[tail].item(), drawn[-1 - tail].item())
