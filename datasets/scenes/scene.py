"""The scene graph: what a picture shows, and what is true, false or open about it.

Truth has three values. `None` means that a fair observer could argue: a cat that is only a little to the left of
a dog, or a card that may hide a cat. What is open is never said and never asked; so what we call true is plainly
true to the eye, and what we call false plainly false.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Truth = bool | None

#: Every relation with its inverse: left(a, b) is right(b, a).
INVERSE = {"left": "right", "right": "left", "above": "below", "below": "above"}
INVERSE |= {"bigger": "smaller", "smaller": "bigger", "front": "behind", "behind": "front"}
PLACES = ("left", "right", "top", "bottom", "middle")
SIZES = ("small", "large")


@dataclass(frozen=True)
class Item:
    """One thing of a scene. Positions and boxes in 0..1 of the picture.

    `concept` is an emoji, None under a card. `centre` and `box` (xyxy) are of the part that can be seen; `side` is
    the longest side in pixels before turning by `angle` degrees; `visible` the share that can be seen; `hides` the
    numbers of the items of which it covers a part.
    """

    concept: str | None
    colour: str
    size: str
    side: float
    centre: tuple[float, float]
    angle: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    visible: float = 1.0
    hides: frozenset[int] = frozenset()


class Phrase(NamedTuple):
    """A description of things; None leaves an attribute open ("a cat", "the red thing")."""

    concept: str | None = None
    colour: str | None = None
    size: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Scene:
    """Items, the later in front of the earlier."""

    items: tuple[Item, ...]
    _known: dict[Phrase, list[Truth]] = field(default_factory=dict, compare=False, repr=False)

    def matches(self, phrase: Phrase) -> list[Truth]:
        """Whether each item is such a thing; remembered, for a scene is asked the same many times."""
        if phrase not in self._known:
            self._known[phrase] = [matches(item, phrase) for item in self.items]
        return self._known[phrase]

    def only(self, phrase: Phrase) -> Item | None:
        """The one item that a phrase describes; None when there is none, or another one may be meant, or a card."""
        matches = self.matches(phrase)
        if matches.count(False) < len(matches) - 1 or True not in matches:
            return None
        item = self.items[matches.index(True)]
        return item if item.concept else None

    def holds(self, relation: str, a: Item, b: Item) -> Truth:
        if relation in ("front", "behind"):
            first, second = self.items.index(a), self.items.index(b)
            over, under = second in a.hides, first in b.hides
            return None if not (over or under) else (over if relation == "front" else under)
        return holds(relation, a, b)

    def reveal(self, concept: str) -> Scene:
        """The scene if this concept were under the cards."""
        return Scene(tuple(replace(item, concept=item.concept or concept) for item in self.items))


def matches(item: Item, phrase: Phrase) -> Truth:
    """Whether an item is such a thing; open for a card that may hide one."""
    if phrase.colour not in (None, item.colour) or phrase.size not in (None, item.size):
        return False
    named = phrase.concept is None or (item.concept and item.concept == phrase.concept)
    return every((named, phrase.place is None or stands(item, phrase.place)))


def stands(item: Item, place: str) -> Truth:
    """Whether an item is on the left, on the right, at the top, at the bottom or in the middle of the picture."""
    x, y = item.centre
    if place == "middle":
        return graded(0.2 - max(abs(x - 0.5), abs(y - 0.5)), 0.1)
    return graded(0.5 - {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}[place], 0.14)


def holds(relation: str, a: Item, b: Item) -> Truth:
    """The relations of position and size; those of occlusion need the whole scene."""
    (ax, ay), (bx, by) = a.centre, b.centre
    if relation in ("bigger", "smaller"):
        ratio = a.side / b.side if relation == "bigger" else b.side / a.side
        return graded(ratio - 1, 0.4)
    return graded({"left": bx - ax, "right": ax - bx, "above": by - ay, "below": ay - by}[relation], 0.13)


def graded(amount: float, enough: float) -> Truth:
    """True from `enough` on, False up to 0, open between."""
    return True if amount >= enough else False if amount <= 0 else None


def every(truths: Iterable[Truth]) -> Truth:
    """Kleene's and."""
    answer: Truth = True
    for truth in truths:
        if truth is False:
            return False
        answer = answer and truth
    return answer


def some(truths: Iterable[Truth]) -> Truth:
    """Kleene's or."""
    answer: Truth = False
    for truth in truths:
        if truth is True:
            return True
        answer = None if truth is None else answer
    return answer


def opposite(truth: Truth) -> Truth:
    return None if truth is None else not truth
