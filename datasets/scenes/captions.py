"""Five captions of a scene, and the false caption of every kind that lies next to each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

from claims import claim, claims
from grammar import LANGUAGES, STATEMENTS, say
from meaning import Sentence, opposites, truth, well_formed
from scene import Item, Phrase, Scene
from world import World

#: What is said of a scene: one sentence, or two about different things.
Caption = tuple[Sentence, ...]


def captions(scene: Scene, world: World, rng: Random) -> list[Caption]:
    """What catches the eye (with colours), how things stand, how many, how big, and where they are.

    The first caption names the biggest things, which makes it the sentence to expect; a simple scene's names all.
    """
    items = sorted((item for item in scene.items if item.concept), key=lambda item: -item.side)
    seen, placed = (next(_lists(items, scene, world, rng, place), None) for place in (False, True))
    plain = seen or claim("attribute", scene, world, rng) or claim("object", scene, world, rng)
    first = (placed if world.preset.places else seen) or plain
    several = "count" if claim("count", scene, world, rng) else "conjunction"
    starts = [claim(kind, scene, world, rng) for kind in ("position", several, "comparison")]
    rest = (("comparison",), ("position",), ("position",), ("count", "comparison"))
    pairs = zip((*starts, placed), rest, strict=True)
    return [(first,), *(_two(start or plain, kinds, scene, world, rng) for start, kinds in pairs)]


def _two(start: Sentence, kinds: tuple[str, ...], scene: Scene, world: World, rng: Random) -> Caption:
    """The sentence and another of the first kind there is; alone if there is none.

    They have no thing in common, so that a false one is not betrayed by the other.
    """
    others = (other for kind in kinds for other in claims(kind, scene, world, rng))
    return start, *islice((other for other in others if not start.concepts & other.concepts), 1)


def _lists(items: list[Item], scene: Scene, world: World, rng: Random, placed: bool) -> Iterator[Sentence]:
    """True lists of the biggest things, the longest first: "a red cat, a blue dog and a green tree"."""
    for count in (3, 2, 1):
        for _ in range(4):
            things = [_phrase(item, scene, world, rng, placed) for item in items[:count]]
            sentence = Sentence("there", tuple(rng.sample(things, len(things))))
            if well_formed(sentence) and world.sayable(sentence.things) and truth(sentence, scene) is True:
                yield sentence


def _phrase(item: Item, scene: Scene, world: World, rng: Random, placed: bool) -> Phrase:
    """A thing with its colour, and where it is if that can be said."""
    thing = Phrase(item.concept, item.colour)
    if not placed:
        return thing
    wheres = [Phrase(item.concept, item.colour, place=place) for place in rng.sample(world.places, len(world.places))]
    return next((where for where in wheres if any(match is True for match in scene.matches(where))), thing)


def tell(told: list[Caption], scene: Scene, world: World, rng: Random) -> dict[str, list]:
    """The captions and their opposites in both languages, as fields of a record."""
    true, false = [], []
    for caption in told:
        style = rng.randrange(6)
        around = _opposites(caption, scene, world, rng)
        for language in LANGUAGES:
            of = f"captions/{len(true)}"
            true.append({"text": _say(caption, language, style), "language": language})
            false += [
                {"text": _say(other, language, style), "language": language, "kind": kind, "of": of}
                for kind, other in around.items()
            ]
    return {"captions": true, "opposites": false}


def _opposites(caption: Caption, scene: Scene, world: World, rng: Random) -> dict[str, Caption]:
    """A false caption of every kind there is: one sentence turned into its opposite, any of those that have it."""
    around: dict[str, Caption] = {}
    for i in rng.sample(range(len(caption)), len(caption)):
        for kind, sentence in opposites(caption[i], world, rng, scene):
            other = (*caption[:i], sentence, *caption[i + 1 :])
            if world.sayable(tuple(thing for one in other for thing in one.things)):
                around.setdefault(kind, other)
    return around


def _say(caption: Caption, language: str, style: int) -> str:
    return (" " if language == "en" else "").join(say(STATEMENTS, sentence, language, style) for sentence in caption)
