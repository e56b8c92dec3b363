"""Questions of seven types, their answers by ten annotators, and the program that finds the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

from claims import claim, claims
from grammar import LANGUAGES, QUESTIONS, say, word
from meaning import OTHER_WAY, Sentence, opposites, truth, well_formed
from programs import program
from scene import PLACES, Item, Phrase, Scene
from sprites import names
from world import World

#: Types that are answered by yes or no.
POLAR = ("existence", "relation", "comparison", "logic")
TYPES = ("attribute", "object", "count", *POLAR)
#: How many of ten annotators disagree; the majority is always right.
_SLIPS = (0,) * 12 + (1,) * 5 + (2, 2, 3)
#: What an annotator may take a colour for.
_LOOKALIKES = {"red": "orange", "orange": "red", "yellow": "orange", "green": "blue", "blue": "purple",
               "purple": "blue", "black": "blue", "white": "yellow"}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A question in meaning: `answer` is yes, no, a digit, a colour or a concept; `wrong` another such answer."""

    type: str
    sentence: Sentence
    answer: str
    wrong: str

    @property
    def stratum(self) -> tuple:
        """The words that could hint at the answer; the names of things and colours cannot, by symmetry."""
        return self.type, self.sentence.form, self.sentence.things[0].size


def questions(scene: Scene, world: World, rng: Random) -> list[Asked]:
    """At most one question of each type."""
    found = (next(_ASKERS[type_](scene, world, rng), None) for type_ in TYPES)
    return [question for question in found if question]


def _polar(type_: str, sentence: Sentence, answer: bool) -> Asked:
    return Asked(type_, sentence, *(("yes", "no") if answer else ("no", "yes")))


def _existence(scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    kind = rng.choice(("object", "attribute"))
    for sentence in claims(kind, scene, world, rng):
        if rng.random() < 0.5:
            yield _polar("existence", sentence, True)
        elif false := list(opposites(sentence, world, rng, scene)):
            yield _polar("existence", rng.choice(false)[1], False)


def _count(scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    """None of a class, one, or (where a class is repeated) two or three."""
    several = claim("count", scene, world, rng)
    concept = rng.choice((_concepts(scene)[0], rng.choice(world.concepts)))
    thing = several.things[0] if several else Phrase(concept)
    matches = scene.matches(thing)
    if None not in matches and matches.count(True) <= 3:
        number = matches.count(True)
        wrong = rng.choice([str(n) for n in (number - 1, number + 1) if n >= 0])
        yield Asked("count", Sentence("how many", (thing,)), str(number), wrong)


def _concepts(scene: Scene) -> list[str]:
    return [item.concept for item in scene.items if item.concept]


def _attribute(scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    for item in _shuffled(scene, rng):
        if thing := _name(item, scene, ((), ("size",), ("place",))):
            yield Asked("attribute", Sentence("what colour", (thing,)), item.colour, _LOOKALIKES[item.colour])


def _object(scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    for item in _shuffled(scene, rng):
        for thing in (Phrase(None, item.colour), Phrase(None, item.colour, item.size)):
            if scene.only(thing) is item:
                wrong = rng.choice([concept for concept in world.concepts if concept != item.concept])
                yield Asked("object", Sentence("what", (thing,)), item.concept, wrong)


def _relation(scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    yield from _of_two("relation", ("left", "right", "above", "below"), scene, world, rng)


def _comparison(scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    kind = rng.choice(("size", "number", "colour"))
    if kind == "size":
        yield from _of_two("comparison", ("bigger", "smaller"), scene, world, rng)
    elif kind == "number":
        concepts = sorted(set(_concepts(scene)))
        things = tuple(map(Phrase, rng.sample(concepts, 2))) if len(concepts) > 1 else ()
        sentences = [Sentence(form, things) for form in ("more", "fewer") if things]
        yield from _flipped("comparison", sentences, scene, world, rng)
    else:
        wanted = rng.random() < 0.5
        for first, second in _named_pairs(scene, rng, ((), ("size",))):
            sentence = Sentence("same colour", (first, second))
            if world.sayable(sentence.things) and truth(sentence, scene) is wanted:
                yield _polar("comparison", sentence, wanted)


def _logic(scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    """Two things: both, one or the other, the first without the second."""
    form, wanted = rng.choice(("there", "or", "without")), rng.random() < 0.5
    for sentence in claims("conjunction", scene, world, rng):
        mixed = [Sentence(form, things) for things in _mixtures(sentence, scene, world, rng)]
        for candidate in rng.sample(mixed, len(mixed)):
            if well_formed(candidate) and world.sayable(candidate.things) and truth(candidate, scene) is wanted:
                yield _polar("logic", candidate, wanted)


def _mixtures(sentence: Sentence, scene: Scene, world: World, rng: Random) -> Iterator[tuple[Phrase, Phrase]]:
    """The two things of a true sentence, each kept or replaced by one that is not there."""
    there = sentence.things
    false = [opposites(Sentence("there", (thing,)), world, rng, scene) for thing in there]
    first, second = ([thing, *(s.things[0] for _, s in others)] for thing, others in zip(there, false, strict=True))
    yield from product(first, second)


def _of_two(type_: str, forms: tuple[str, ...], scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    for things in _named_pairs(scene, rng, ((), ("colour",))):  # "the large one" would tell what is bigger
        sentences = [Sentence(form, things) for form in rng.sample(forms, len(forms))]
        yield from _flipped(type_, sentences, scene, world, rng)


def _flipped(type_: str, sentences: Iterable[Sentence], scene: Scene, world: World, rng: Random) -> Iterator[Asked]:
    """A true sentence and the other way round are asked equally often."""
    wanted = rng.random() < 0.5
    for sentence in sentences:
        asked = sentence if wanted else Sentence(OTHER_WAY[sentence.form], sentence.things)
        if world.sayable(sentence.things) and truth(sentence, scene) is True and truth(asked, scene) is wanted:
            yield _polar(type_, asked, wanted)


def _named_pairs(scene: Scene, rng: Random, ways: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Phrase, Phrase]]:
    items = _shuffled(scene, rng)
    named = [thing for item in items if (thing := _name(item, scene, ways))]
    pairs = [(a, b) for a in named for b in named if a != b]
    yield from rng.sample(pairs, len(pairs))


def _name(item: Item, scene: Scene, ways: tuple[tuple[str, ...], ...]) -> Phrase | None:
    """The first of the ways (attributes to say) that names this item and no other."""
    for way in ways:
        said = Phrase(item.concept, item.colour if "colour" in way else None, item.size if "size" in way else None)
        for place in PLACES[:4] if "place" in way else (None,):
            thing = said._replace(place=place)
            if scene.only(thing) is item:
                return thing
    return None


def _shuffled(scene: Scene, rng: Random) -> list[Item]:
    items = [item for item in scene.items if item.concept]
    return rng.sample(items, len(items))


_ASKERS = {
    "existence": _existence,
    "count": _count,
    "attribute": _attribute,
    "object": _object,
    "relation": _relation,
    "comparison": _comparison,
    "logic": _logic,
}


def tell(asked: list[Asked], key: str, rng: Random) -> dict[str, list]:
    """The questions in both languages, and a wrong answer to each among the opposites, as fields of a record."""
    told, false = [], []
    for i, question in enumerate(asked):
        style, answers = rng.randrange(6), _annotators(question, rng)
        for language in LANGUAGES:
            false.append({"text": _answer(question.wrong, language), "language": language, "kind": "answer"})
            false[-1]["of"] = f"qa/{len(told)}"
            told.append(
                {
                    "id": f"{key}-{i}-{language}",
                    "question": say(QUESTIONS, question.sentence, language, style),
                    "answers": [_answer(answer, language) for answer in answers],
                    "type": question.type,
                    "language": language,
                    "program": program(question.sentence),
                }
            )
    return {"qa": told, "opposites": false}


def _annotators(question: Asked, rng: Random) -> list[str]:
    slips = rng.choice(_SLIPS)
    answers = [question.wrong] * slips + [question.answer] * (10 - slips)
    return rng.sample(answers, len(answers))


def _answer(answer: str, language: str) -> str:
    return names(language).get(answer) or word(answer, language)
