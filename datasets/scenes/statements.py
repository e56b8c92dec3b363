"""NLVR2-style statements about two pictures.

Pairs come in sets of two, whose pictures draw on the same few concepts. Only statements that are true of one pair
and false of the other are kept, and given to both: the words of a statement tell nothing about its label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from claims import coloured
from grammar import LANGUAGES, STATEMENTS, say
from meaning import NUMBERS, Sentence, opposites, truth
from scene import Item, Phrase, Scene
from world import World

TYPES = ("side", "both", "one", "total", "more", "each")
Pair = tuple[Scene, Scene]


@dataclass(frozen=True)
class Stated:
    """A statement that is true of pair number `true` of the set and false of the other."""

    type: str
    sentence: Sentence
    true: int


def statements(pairs: tuple[Pair, Pair], world: World, rng: Random) -> list[Stated]:
    """At most one statement of each type."""
    found = (next(_stated(type_, pairs, world, rng), None) for type_ in TYPES)
    return [stated for stated in found if stated]


def _stated(type_: str, pairs: tuple[Pair, Pair], world: World, rng: Random) -> Iterator[Stated]:
    for _ in range(12):
        pair = rng.choice(pairs)
        sentence = _draw(type_, rng.choice(pair[0].items), rng.choice(pair[1].items), rng)
        truths = [truth(sentence, *pair) for pair in pairs]
        if sorted(map(str, truths)) == ["False", "True"] and world.sayable(sentence.things):
            yield Stated(type_, sentence, truths.index(True))


def _draw(type_: str, left: Item, right: Item, rng: Random) -> Sentence:
    """A statement that may be true of pictures with these two items."""
    either = rng.choice((left, right))
    match type_:
        case "side" | "more":
            form = f"{_BEFORE[type_]} {rng.choice(('left', 'right'))}"
            return Sentence(form, (_describe(either, rng) if type_ == "side" else Phrase(either.concept),))
        case "total":
            return Sentence("total", (Phrase(either.concept),), rng.choice(NUMBERS))
        case "each":
            return Sentence("each", (coloured(left), coloured(right)))
    return Sentence(type_, (_describe(either, rng),))


_BEFORE = {"side": "in", "more": "more"}


def _describe(item: Item, rng: Random) -> Phrase:
    return rng.choice((Phrase(item.concept), coloured(item), Phrase(item.concept, size=item.size)))


def tell(
    stated: list[Stated], pairs: tuple[Pair, Pair], world: World, number: str, rng: Random
) -> list[dict[str, list]]:
    """The records' fields of both pairs. Ids are NLVR2's: split-set-pair-sentence, then the language."""
    records = [{"statements": [], "opposites": []} for _ in pairs]
    for i, one in enumerate(stated):
        style = rng.randrange(6)
        around = list(opposites(one.sentence, world, rng, *pairs[one.true]))
        for j, record in enumerate(records):
            for language in LANGUAGES:
                of = f"statements/{len(record['statements'])}"
                text = say(STATEMENTS, one.sentence, language, style)
                told = {"id": f"{number}-{j}-{i}-{language}", "text": text, "label": j == one.true}
                record["statements"].append(told | {"type": one.type, "language": language})
                record["opposites"] += [
                    {"text": say(STATEMENTS, s, language, style), "language": language, "kind": kind, "of": of}
                    for kind, s in around
                    if j == one.true
                ]
    return records
