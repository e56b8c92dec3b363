"""VCR-style questions: four answers, then four rationales for the right one.

Answers are two concepts by two colours, rationales two relations by two landmarks: every word is in two of the four,
so that nothing but the picture tells which of them is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

from claims import coloured
from grammar import LANGUAGES, QUESTIONS, RATIONALES, phrase, say
from meaning import Sentence, truth
from scene import INVERSE, Item, Phrase, Scene
from sprites import COLOURS
from world import World

RELATIONS = ("left", "right", "above", "below", "bigger", "smaller")
#: What a rationale may say when the question asks for a relation: never what follows from it.
_ACROSS = {"left": "above", "right": "below", "above": "left", "below": "right", "bigger": "left", "smaller": "above"}


@dataclass(frozen=True)
class Chosen:
    """`answers` and `rationales` in the order they are shown; the labels are indices."""

    question: Sentence
    answers: tuple[Phrase, ...]
    label: int
    rationales: tuple[Sentence, ...]
    rationale_label: int


def choices(scene: Scene, world: World, rng: Random) -> list[Chosen]:
    """At most one question."""
    return [chosen for chosen in [next(_choices(scene, world, rng), None)] if chosen]


def _choices(scene: Scene, world: World, rng: Random) -> Iterator[Chosen]:
    for relation in rng.sample(RELATIONS, len(RELATIONS)):
        for answer, asked in _pairs(relation, scene, rng):
            about = Phrase(asked.concept)
            answers = _answers(relation, answer, about, scene, world, rng)
            if reasons := answers and _rationales(relation, answer, asked, scene, world, rng):
                label, rationale_label = answers.index(coloured(answer)), _true(reasons, scene)[0]
                yield Chosen(Sentence(f"what {relation}", (about,)), answers, label, reasons, rationale_label)


def _pairs(relation: str, scene: Scene, rng: Random) -> list[tuple[Item, Item]]:
    """The first stands so to the second, which is the only one of its class."""
    items = [item for item in scene.items if item.concept]
    asked = [item for item in items if scene.only(Phrase(item.concept)) is item]
    pairs = [(a, b) for b in asked for a in items if a is not b and scene.holds(relation, a, b)]
    return rng.sample(pairs, len(pairs))


def _answers(relation: str, answer: Item, about: Phrase, scene: Scene, world: World, rng: Random) -> tuple[Phrase, ...]:
    """Four things of which just the one stands so to what the question is about; () if they were not found."""
    for _ in range(4):
        concepts = (answer.concept, rng.choice(world.concepts))
        colours = (answer.colour, rng.choice(tuple(COLOURS)))
        grid = tuple(Phrase(*pair) for pair in product(concepts, colours))
        if len(set(grid)) == 4 and about.concept not in concepts:
            sentences = [Sentence(relation, (thing, about)) for thing in grid]
            if all(world.sayable(s.things) for s in sentences) and _true(sentences, scene) == [0]:
                return tuple(rng.sample(grid, 4))
    return ()


def _rationales(
    relation: str, answer: Item, asked: Item, scene: Scene, world: World, rng: Random
) -> tuple[Sentence, ...]:
    """Four statements on where the answer is of which just one is true; () if they were not found."""
    across = _ACROSS[relation]
    marks = [item for item in scene.items if item.concept not in (None, answer.concept, asked.concept)]
    for mark in rng.sample(marks, len(marks)):
        landmarks = (coloured(mark), coloured(mark)._replace(**rng.choice(_changes(world, rng))))
        ways = product((across, INVERSE[across]), landmarks)
        grid = [Sentence(form, (coloured(answer), landmark)) for form, landmark in ways]
        if {landmark.concept for landmark in landmarks} & {answer.concept, asked.concept}:
            continue
        if all(world.sayable(s.things) for s in grid) and len(_true(grid, scene)) == 1:
            return tuple(rng.sample(grid, 4))
    return ()


def _changes(world: World, rng: Random) -> list[dict[str, str]]:
    return [{"colour": rng.choice(tuple(COLOURS))}, {"concept": rng.choice(world.concepts)}]


def _true(sentences: Sequence[Sentence], scene: Scene) -> list[int]:
    """The numbers of the true sentences, or [] when one of them is open."""
    truths = [truth(sentence, scene) for sentence in sentences]
    return [] if None in truths else [i for i, true in enumerate(truths) if true]


def tell(chosen: list[Chosen], key: str) -> dict[str, list]:
    """The questions in both languages, as a field of a record."""
    return {
        "choices": [
            {
                "id": f"{key}-{i}-{language}",
                "question": say(QUESTIONS, one.question, language),
                "choices": [phrase(thing, language) for thing in one.answers],
                "label": one.label,
                "rationales": [say(RATIONALES, sentence, language) for sentence in one.rationales],
                "rationale_label": one.rationale_label,
                "type": one.question.form,
                "language": language,
            }
            for i, one in enumerate(chosen)
            for language in LANGUAGES
        ]
    }
