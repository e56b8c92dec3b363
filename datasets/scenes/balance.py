"""Equally many of every answer: what a model that never looks at the picture could learn is taken away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from random import Random
from typing import Protocol


class Answered(Protocol):
    """Anything with an answer; the stratum holds all that its words could tell about the answer."""

    answer: str

    @property
    def stratum(self) -> Hashable: ...


def balance(drawn: Sequence[Sequence[Answered]], labels: int, rng: Random) -> list[list[Answered]]:
    """Drop at random what is in surplus, so that each of `labels` answers is equally frequent in every stratum.

    `drawn` holds the items of each scene; the result holds those that are kept. A stratum in which an answer never
    occurs is dropped.
    """
    strata: dict[Hashable, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for scene, items in enumerate(drawn):
        for position, item in enumerate(items):
            strata[item.stratum][item.answer].append((scene, position))
    kept = set()
    for answers in strata.values():
        quota = min(map(len, answers.values())) if len(answers) == labels else 0
        for places in answers.values():
            kept.update(rng.sample(places, quota))
    return [[item for j, item in enumerate(items) if (i, j) in kept] for i, items in enumerate(drawn)]
