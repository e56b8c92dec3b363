"""Referring expressions that mean exactly one thing; most need an attribute or a relation, as its class is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from grammar import EXPRESSIONS, LANGUAGES, say
from meaning import Sentence
from scene import Item, Phrase, Scene
from world import World

_BY_COMPARING = ("size", "position", "comparison")
_BY_ITSELF = ("attribute", *("place", "extreme") * 2)  # tried in random order; a colour nearly always does
#: How far the leftmost of several is ahead of the next.
_LEAD = 0.1


@dataclass(frozen=True)
class Referred:
    type: str
    sentence: Sentence
    item: Item


def expressions(scene: Scene, world: World, rng: Random) -> list[Referred]:
    """Two expressions for every thing whose class is repeated, and at times one for another thing."""
    items = [item for item in scene.items if item.concept]
    concepts = [item.concept for item in items]
    repeated = [item for item in items if concepts.count(item.concept) > 1]
    single = [item for item in items if item not in repeated]
    wanted = [(item, types) for item in repeated for types in (_BY_COMPARING, _BY_ITSELF)]
    wanted += [(item, ("class",)) for item in rng.sample(single, min(1, len(single))) if rng.random() < 0.45]
    found = (next(_refer(item, types, scene, world, rng), None) for item, types in wanted)
    return [referred for referred in found if referred]


def _refer(item: Item, types: tuple[str, ...], scene: Scene, world: World, rng: Random) -> Iterator[Referred]:
    for type_ in rng.sample(types, len(types)):
        for sentence in _WAYS[type_](item, scene, world, rng):
            if world.sayable(sentence.things) and meant(sentence, scene) is item:
                yield Referred(type_, sentence, item)


def meant(sentence: Sentence, scene: Scene) -> Item | None:
    """The only item an expression can mean; None when there is no such item, or another cannot be ruled out."""
    form, first = sentence.form, sentence.things[0]
    if form == "the":
        return scene.only(first)
    found = [item for item, match in zip(scene.items, scene.matches(first), strict=True) if match is not False]
    if not all(item.concept for item in found):
        return None
    if form.startswith("most "):
        return _extreme(form.removeprefix("most "), found)
    if (landmark := scene.only(sentence.things[1])) is None:
        return None
    holds = [item is not landmark and scene.holds(form, item, landmark) for item in found]
    return found[holds.index(True)] if holds.count(True) == 1 and None not in holds else None


def _extreme(side: str, found: list[Item]) -> Item | None:
    axis, sign = {"left": (0, 1), "right": (0, -1), "above": (1, 1), "below": (1, -1)}[side]
    ranked = sorted(found, key=lambda item: sign * item.centre[axis])
    clear = len(ranked) > 1 and sign * (ranked[1].centre[axis] - ranked[0].centre[axis]) >= _LEAD
    return ranked[0] if clear else None


def _the(*things: Phrase) -> Iterator[Sentence]:
    return (Sentence("the", (thing,)) for thing in things)


def _places(item: Item, scene: Scene, world: World, rng: Random) -> Iterator[Sentence]:
    return _the(*(Phrase(item.concept, place=place) for place in rng.sample(world.places, len(world.places))))


def _extremes(item: Item, scene: Scene, world: World, rng: Random) -> Iterator[Sentence]:
    sides = rng.sample(("left", "right", "above", "below"), 4)
    return (Sentence(f"most {side}", (Phrase(item.concept),)) for side in sides)


def _related(relations: tuple[str, ...]):
    def sentences(item: Item, scene: Scene, world: World, rng: Random) -> Iterator[Sentence]:
        others = [other for other in scene.items if other.concept not in (None, item.concept)]
        for other in rng.sample(others, len(others)):
            for relation in rng.sample(relations, len(relations)):
                for landmark in (Phrase(other.concept), Phrase(other.concept, other.colour)):
                    yield Sentence(relation, (Phrase(item.concept), landmark))

    return sentences


_WAYS = {
    "class": lambda item, scene, world, rng: _the(Phrase(item.concept)),
    "attribute": lambda item, scene, world, rng: _the(Phrase(item.concept, item.colour)),
    "size": lambda item, scene, world, rng: _the(Phrase(item.concept, size=item.size)),
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
