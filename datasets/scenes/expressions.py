"""Referring expressions that mean exactly one thing; most need an attribute or a relation, as its class is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from grammar import EXPRESSIONS, LANGUAGES, say
from meaning import Sentence
from scene import INVERSE, PLACES, Item, Phrase, Scene, every
from world import World

TYPES = ("class", "attribute", "size", "place", "position", "comparison", "extreme")
#: How far the leftmost of several is ahead of the next.
_LEAD = 0.1


@dataclass(frozen=True)
class Referred:
    type: str
    sentence: Sentence
    item: Item


def expressions(scene: Scene, world: World, rng: Random) -> list[Referred]:
    """Two expressions for every thing whose class is repeated, and one for one other thing."""
    items = [item for item in scene.items if item.concept]
    concepts = [item.concept for item in items]
    repeated = [item for item in items if concepts.count(item.concept) > 1]
    single = rng.sample([item for item in items if item not in repeated], min(1, len(items) - len(repeated)))
    wanted = [(item, 2) for item in repeated] + [(item, 1) for item in single]
    return [referred for item, count in wanted for referred in _refer(item, item in repeated, count, scene, world, rng)]


def _refer(item: Item, repeated: bool, count: int, scene: Scene, world: World, rng: Random) -> list[Referred]:
    found = []
    for type_ in rng.sample(TYPES[1:], len(TYPES) - 1) if repeated else TYPES[:1]:
        candidates = (s for s in _WAYS[type_](item, scene, rng) if world.sayable(s.things))
        found += [Referred(type_, s, item) for s in candidates if meant(s, scene) is item][:1]
    return found[:count]


def meant(sentence: Sentence, scene: Scene) -> Item | None:
    """The only item an expression can mean; None when there is no such item, or another cannot be ruled out."""
    found = [item for item, match in zip(scene.items, scene.matches(sentence.things[0]), strict=True) if match is not False]
    form = sentence.form
    if form.startswith("most "):
        return _extreme(form.removeprefix("most "), found)
    if form in INVERSE:
        landmark = scene.only(sentence.things[1])
        holds = {i: landmark and every((found[i] is not landmark, scene.holds(form, found[i], landmark))) for i in range(len(found))}
        found = [found[i] for i, hold in holds.items() if hold is not False]
        if True not in holds.values():
            return None
    certain = [item for item in found if item.concept]
    return certain[0] if len(found) == len(certain) == 1 else None


def _extreme(side: str, found: list[Item]) -> Item | None:
    axis, sign = {"left": (0, 1), "right": (0, -1), "above": (1, 1), "below": (1, -1)}[side]
    ranked = sorted(found, key=lambda item: sign * item.centre[axis])
    clear = len(ranked) > 1 and sign * (ranked[1].centre[axis] - ranked[0].centre[axis]) >= _LEAD
    return ranked[0] if clear and all(item.concept for item in found) else None


def _the(*things: Phrase) -> Iterator[Sentence]:
    return (Sentence("the", (thing,)) for thing in things)


def _places(item: Item, scene: Scene, rng: Random) -> Iterator[Sentence]:
    return _the(*(Phrase(item.concept, place=place) for place in rng.sample(PLACES, len(PLACES))))


def _extremes(item: Item, scene: Scene, rng: Random) -> Iterator[Sentence]:
    sides = rng.sample(("left", "right", "above", "below"), 4)
    return (Sentence(f"most {side}", (Phrase(item.concept),)) for side in sides)


def _related(relations: tuple[str, ...]):
    def sentences(item: Item, scene: Scene, rng: Random) -> Iterator[Sentence]:
        others = [other for other in scene.items if other.concept not in (None, item.concept)]
        for other in rng.sample(others, len(others)):
            for relation in rng.sample(relations, len(relations)):
                for landmark in (Phrase(other.concept), Phrase(other.concept, other.colour)):
                    yield Sentence(relation, (Phrase(item.concept), landmark))

    return sentences


_WAYS = {
    "class": lambda item, scene, rng: _the(Phrase(item.concept)),
    "attribute": lambda item, scene, rng: _the(Phrase(item.concept, item.colour)),
    "size": lambda item, scene, rng: _the(Phrase(item.concept, size=item.size)),
    "place": _places,
    "position": _related(("left", "right", "above", "below", "front", "behind")),
    "comparison": _related(("bigger", "smaller")),
    "extreme": _extremes,
}


def tell(referred: list[Referred], key: str) -> dict[str, list]:
    """The expressions in both languages, as a field of a record."""
    told = []
    for i, one in enumerate(referred):
        for language in LANGUAGES:
            text = say(EXPRESSIONS, one.sentence, language)
            told.append({"id": f"{key}-{i}-{language}", "text": text, "box": one.item.box, "language": language})
            told[-1]["type"] = one.type
    return {"expressions": told}
