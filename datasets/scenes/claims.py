"""True things to say of a picture, of every kind: what captions, questions and hypotheses are made from."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from meaning import Sentence, truth, well_formed
from scene import INVERSE, Item, Phrase, Scene
from world import World

KINDS = ("object", "attribute", "place", "count", "position", "comparison", "conjunction")
_POSITIONS = ("left", "right", "above", "below", "front", "behind")


def claims(kind: str, scene: Scene, world: World, rng: Random, about: list[Item] | None = None) -> Iterator[Sentence]:
    """Sentences of a kind that are true of the scene, in random order; the first thing is one of `about`."""
    items = [item for item in scene.items if item.concept]
    about = items if about is None else about
    for first in rng.sample(about, len(about)):
        for sentence in _CLAIMS[kind](first, [item for item in items if item is not first], world, rng):
            if well_formed(sentence) and world.sayable(sentence.things) and truth(sentence, scene) is True:
                yield sentence


def claim(kind: str, scene: Scene, world: World, rng: Random, about: list[Item] | None = None) -> Sentence | None:
    return next(claims(kind, scene, world, rng, about), None)


def coloured(item: Item) -> Phrase:
    return Phrase(item.concept, item.colour)


def _object(first: Item, others: list[Item], world: World, rng: Random) -> Iterator[Sentence]:
    yield Sentence("there", (Phrase(first.concept),))


def _attribute(first: Item, others: list[Item], world: World, rng: Random) -> Iterator[Sentence]:
    yield Sentence("there", (rng.choice((coloured(first), Phrase(first.concept, size=first.size))),))


def _place(first: Item, others: list[Item], world: World, rng: Random) -> Iterator[Sentence]:
    for place in rng.sample(world.places, len(world.places)):
        yield Sentence("there", (Phrase(first.concept, place=place),))


def _count(first: Item, others: list[Item], world: World, rng: Random) -> Iterator[Sentence]:
    number = 1 + sum(other.concept == first.concept for other in others)
    if number > 1:
        yield Sentence("count", (Phrase(first.concept),), number)


def _position(first: Item, others: list[Item], world: World, rng: Random) -> Iterator[Sentence]:
    yield from _related(_POSITIONS, first, others, rng)


def _comparison(first: Item, others: list[Item], world: World, rng: Random) -> Iterator[Sentence]:
    yield from _related(("bigger", "smaller"), first, others, rng)


def _related(relations: tuple[str, ...], first: Item, others: list[Item], rng: Random) -> Iterator[Sentence]:
    """One of the two has a colour; which one, and which comes first, tells nothing."""
    for other in rng.sample(others, len(others)):
        for relation in rng.sample(relations, len(relations)):
            things = rng.choice(((coloured(first), Phrase(other.concept)), (Phrase(first.concept), coloured(other))))
            sentence = Sentence(relation, things)
            yield sentence if rng.random() < 0.5 else Sentence(INVERSE[relation], things[::-1])


def _conjunction(first: Item, others: list[Item], world: World, rng: Random) -> Iterator[Sentence]:
    for other in rng.sample(others, len(others)):
        yield Sentence("there", tuple(rng.sample((coloured(first), coloured(other)), 2)))


_CLAIMS = {
    "object": _object,
    "attribute": _attribute,
    "place": _place,
    "count": _count,
    "position": _position,
    "comparison": _comparison,
    "conjunction": _conjunction,
}
