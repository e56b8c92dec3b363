"""Five captions of a scene, and the false sentence of every kind that lies next to each."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from claims import claim
from grammar import LANGUAGES, STATEMENTS, say
from meaning import Sentence, opposites, truth, well_formed
from scene import Item, Phrase, Scene
from world import World


def captions(scene: Scene, world: World, rng: Random) -> list[Sentence]:
    """What catches the eye (with colours), how two things stand, how many, how big, and where things are.

    The first caption names the biggest things, which makes it the sentence to expect; a simple scene's names all.
    """
    items = sorted((item for item in scene.items if item.concept), key=lambda item: -item.side)
    several = "count" if claim("count", scene, world, rng) else "conjunction"
    drawn = [claim(kind, scene, world, rng) for kind in ("position", several, "comparison")]
    seen, placed = (next(_lists(items, scene, world, rng, place), None) for place in (False, True))
    plain = seen or claim("attribute", scene, world, rng) or claim("object", scene, world, rng)
    return [sentence or plain for sentence in (placed if world.preset.places else seen, *drawn, placed)]


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


def tell(sentences: list[Sentence], scene: Scene, world: World, rng: Random) -> dict[str, list]:
    """The captions and their opposites in both languages, as fields of a record."""
    told, false = [], []
    for sentence in sentences:
        style = rng.randrange(6)
        around = list(opposites(sentence, world, rng, scene))
        for language in LANGUAGES:
            of = f"captions/{len(told)}"
            told.append({"text": say(STATEMENTS, sentence, language, style), "language": language})
            false += [
                {"text": say(STATEMENTS, other, language, style), "language": language, "kind": kind, "of": of}
                for kind, other in around
            ]
    return {"captions": told, "opposites": false}
