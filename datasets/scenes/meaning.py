"""What a sentence says, whether it is true of a picture, and how little must change to make it false."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from scene import INVERSE, PLACES, SIZES, Phrase, Scene, Truth, every, opposite, some
from sprites import COLOURS
from world import World

NUMBERS = (2, 3)
#: Forms that turn into each other when the relation changes; those of two pictures included.
OTHER_WAY = INVERSE | {"more": "fewer", "fewer": "more"}
OTHER_WAY |= {"in left": "in right", "in right": "in left", "more left": "more right", "more right": "more left"}


class Sentence(NamedTuple):
    """A form, the things it speaks of, and a number.

    Forms about one picture: `there` (all of the things), `count` (exactly `number`), a relation of two things,
    `more` and `fewer`, `same colour`, `or`, `without` (the first and not the second). About two pictures:
    `in left`, `in right`, `both`, `one` (exactly one of them), `total`, `more left`, `more right`, `each` (the
    first thing left, the second right).
    """

    form: str
    things: tuple[Phrase, ...]
    number: int = 0

    @property
    def concepts(self) -> set[str]:
        return {thing.concept for thing in self.things if thing.concept}


def truth(sentence: Sentence, *scenes: Scene) -> Truth:
    """Whether a sentence is true of a picture, or of a left and a right picture; None when it is open."""
    things, left, right = sentence.things, scenes[0], scenes[-1]
    match sentence.form:
        case "there":
            return every(some(left.matches(thing)) for thing in things)
        case "or":
            return some(some(left.matches(thing)) for thing in things)
        case "without":
            return every((some(left.matches(things[0])), opposite(some(left.matches(things[1])))))
        case "count":
            return _equal(_count(things[0], left), (sentence.number, sentence.number))
        case "more":
            return _more(_count(things[0], left), _count(things[1], left))
        case "fewer":
            return _more(_count(things[1], left), _count(things[0], left))
        case "same colour":
            return _pairs(left, things, lambda a, b: a.colour == b.colour)
        case "in left":
            return some(left.matches(things[0]))
        case "in right":
            return some(right.matches(things[0]))
        case "both":
            return every((some(left.matches(things[0])), some(right.matches(things[0]))))
        case "one":
            first, second = some(left.matches(things[0])), some(right.matches(things[0]))
            return None if None in (first, second) else first != second
        case "each":
            return every((some(left.matches(things[0])), some(right.matches(things[1]))))
        case "total":
            counts = zip(_count(things[0], left), _count(things[0], right), strict=True)
            return _equal(tuple(map(sum, counts)), (sentence.number, sentence.number))
        case "more left":
            return _more(_count(things[0], left), _count(things[0], right))
        case "more right":
            return _more(_count(things[0], right), _count(things[0], left))
        case relation:
            return _pairs(left, things, lambda a, b: left.holds(relation, a, b))


def _pairs(scene: Scene, things: tuple[Phrase, ...], holds) -> Truth:
    """Whether something like the first thing stands so to something like the second."""
    firsts, seconds = (list(zip(scene.items, scene.matches(thing), strict=True)) for thing in things)
    return some(
        every((match, other, holds(a, b)))
        for a, match in firsts if match is not False
        for b, other in seconds if other is not False and a is not b
    )  # fmt: skip


Range = tuple[int, int]


def _count(thing: Phrase, scene: Scene) -> Range:
    """Fewest and most things that the phrase may describe."""
    found = scene.matches(thing)
    return found.count(True), len(found) - found.count(False)


def _equal(a: Range, b: Range) -> Truth:
    return False if a[1] < b[0] or b[1] < a[0] else True if a[0] == a[1] == b[0] == b[1] else None


def _more(a: Range, b: Range) -> Truth:
    return True if a[0] > b[1] else False if a[1] <= b[0] else None


def undecided(sentence: Sentence, scene: Scene, others: Iterable[str]) -> bool:
    """Whether the sentence hangs on what the card hides: true of one thing under it, false of another."""
    return {truth(sentence, scene.reveal(concept)) for concept in (*sentence.concepts, *others)} == {True, False}


def well_formed(sentence: Sentence) -> bool:
    """Whether no two things of the sentence could be one, and nothing is said twice."""
    things = sentence.things
    apart = (
        any(getattr(a, name) and getattr(b, name) and getattr(a, name) != getattr(b, name) for name in _ATTRIBUTES)
        for i, a in enumerate(things) for b in things[:i]
    )  # fmt: skip
    return all(apart)


_ATTRIBUTES = ("concept", "colour", "size")


def opposites(sentence: Sentence, world: World, rng: Random, *scenes: Scene) -> Iterator[tuple[str, Sentence]]:
    """A false sentence of every kind there is: (what was changed, sentence).

    Kinds: object, attribute, count, relation, exchange (two things swap an attribute). A replacement is drawn
    as the things of scenes are, so that the false sentences together speak of what the true ones speak of.
    """
    for kind, changes in _CHANGES.items():
        for changed in changes(sentence, world, rng):
            if well_formed(changed) and world.sayable(changed.things) and truth(changed, *scenes) is False:
                yield kind, changed
                break


def _objects(sentence: Sentence, world: World, rng: Random) -> Iterator[Sentence]:
    for _ in range(8):
        i = rng.randrange(len(sentence.things))
        if sentence.things[i].concept:
            concept = rng.choice(world.concepts)
            if concept not in sentence.concepts:
                yield _change(sentence, i, concept=concept)


def _attributes(sentence: Sentence, world: World, rng: Random) -> Iterator[Sentence]:
    spoken = [(i, name) for i, thing in enumerate(sentence.things) for name in _VALUES if getattr(thing, name)]
    for i, name in rng.sample(spoken, len(spoken)):
        old = getattr(sentence.things[i], name)
        values = [value for value in (world.places if name == "place" else _VALUES[name]) if value != old]
        for value in rng.sample(values, len(values)):
            yield _change(sentence, i, **{name: value})


_VALUES = {"colour": tuple(COLOURS), "size": SIZES, "place": PLACES}


def _counts(sentence: Sentence, world: World, rng: Random) -> Iterator[Sentence]:
    if sentence.number in NUMBERS:
        yield sentence._replace(number=sum(NUMBERS) - sentence.number)


def _relations(sentence: Sentence, world: World, rng: Random) -> Iterator[Sentence]:
    if sentence.form in OTHER_WAY:
        yield sentence._replace(form=OTHER_WAY[sentence.form])


def _exchanges(sentence: Sentence, world: World, rng: Random) -> Iterator[Sentence]:
    if len(sentence.things) < 2:
        return
    i, j = rng.sample(range(len(sentence.things)), 2)
    for name in rng.sample(list(_VALUES), len(_VALUES)):
        first, second = getattr(sentence.things[i], name), getattr(sentence.things[j], name)
        if first and second and first != second:
            yield _change(_change(sentence, i, **{name: second}), j, **{name: first})


_CHANGES = {
    "object": _objects,
    "attribute": _attributes,
    "count": _counts,
    "relation": _relations,
    "exchange": _exchanges,
}


def _change(sentence: Sentence, i: int, **attributes: str) -> Sentence:
    things = list(sentence.things)
    things[i] = things[i]._replace(**attributes)
    return sentence._replace(things=tuple(things))
