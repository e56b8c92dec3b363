"""What a scene of a split may hold: concepts, attributes, and the pairs that training never sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from hashlib import blake2b
from itertools import combinations
from random import Random

from scene import PLACES, Phrase
from sprites import COLOURS, CONCEPTS

SPLITS = {
    "train": "for training",
    "val": "as train",
    "test": "as train",
    "test_objects": "concepts of train, drawn as OpenMoji; all others are Twemoji",
    "test_compositions": "colours on things, and things beside things, that train never shows or mentions",
    "test_concepts": "concepts that train never shows or mentions; measured without a target",
}
#: A further split, if asked for.
JUDGE = "judge"
_UNKNOWN = CONCEPTS[5::6]
_KNOWN = tuple(concept for concept in CONCEPTS if concept not in _UNKNOWN)


@dataclass(frozen=True)
class Preset:
    """The kind of scenes.

    Args:
        objects: Fewest and most things of a scene.
        concepts: How many concepts training knows.
        sides: Range of the longest side in pixels, for each size.
        places: Things stand at one of the five places.
        held_out: Kinds of pairs that training never sees.
        repeats: Share of scenes in which two or three things are of one class.
        cards: Share of scenes with a card that hides what it shows.
        turn: Degrees by which things are turned at most.
        anchors: Where the columns and rows of these places are, as shares of the picture.
        stray: How far things stand from their place at most, as a share of the picture.
        patterns: How many of the background's patterns occur; 0 is plain grey.
    """

    objects: tuple[int, int] = (2, 8)
    concepts: int = len(_KNOWN)
    sides: tuple[tuple[str, tuple[int, int]], ...] = (("small", (36, 44)), ("large", (74, 94)))
    places: bool = False
    held_out: tuple[str, ...] = ("concept-colour", "concept-concept")
    repeats: float = 0.36
    cards: float = 0.4
    turn: float = 25.0
    anchors: tuple[float, float, float] = (0.2, 0.5, 0.8)
    stray: float = 0.03
    patterns: int = 6


PRESETS = {
    "full": Preset(),
    "simple": Preset(
        objects=(1, 3),
        concepts=48,
        sides=(("large", (64, 72)),),
        places=True,
        held_out=("concept-colour", "concept-place", "colour-place"),
        repeats=0.0,
        cards=0.0,
    ),
}
# For pictures of 48 px and image tokens of 4 px: the same, with less that a generator would have to make up. A thing is
# four tokens a side, and always the same ones: they lie alike at every place. Its centre is a pixel of 224 left of and
# above a corner of tokens, so that it is always in the same one.
PRESETS["generate"] = replace(
    PRESETS["simple"],
    sides=(("large", (74, 74)),),
    turn=0.0,
    anchors=(1 / 6 - 1 / 224, 3 / 6 - 1 / 224, 5 / 6 - 1 / 224),
    stray=0.0,
    patterns=0,
)
#: One in so many pairs is kept out of training.
_HELD_OUT = {"concept-colour": 8, "concept-concept": 20, "concept-place": 8, "colour-place": 8}

#: Draws before another number of things is tried: few concepts may not allow, say, three of a class in new colours.
_TRIES = 1000


@cache
def held_out(kind: str, *pair: str) -> bool:
    """Whether training never sees this pair. A function of the names alone: every seed has the same splits."""
    digest = blake2b("|".join((kind, *sorted(pair))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _HELD_OUT[kind] == 0


@dataclass(frozen=True)
class World:
    """The scenes of one split under a preset; `pool` narrows its concepts."""

    split: str
    preset: Preset
    pool: tuple[str, ...] = ()

    @property
    def style(self) -> str:
        return "openmoji" if self.split == "test_objects" else "twemoji"

    @property
    def places(self) -> tuple[str, ...]:
        """The places that are spoken of."""
        return PLACES if self.preset.places else PLACES[:4]

    @property
    def compositions(self) -> bool:
        return self.split == "test_compositions"

    @property
    def unrestricted(self) -> bool:
        """Whether every pair may be shown and mentioned."""
        return self.split == JUDGE

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        if self.pool or self.split == "test_concepts":
            return self.pool or _UNKNOWN
        count = self.preset.concepts
        concepts = tuple(_KNOWN[i * len(_KNOWN) // count] for i in range(count))
        if not self.compositions:
            return concepts
        return tuple(concept for concept in concepts if any(held_out("concept-colour", concept, c) for c in COLOURS))

    def known(self, phrase: Phrase) -> bool:
        """Whether training may show or mention such a thing."""
        pairs = (
            ("concept-colour", phrase.concept, phrase.colour),
            ("concept-place", phrase.concept, phrase.place),
            ("colour-place", phrase.colour, phrase.place),
        )
        return not any(a and b and kind in self.preset.held_out and held_out(kind, a, b) for kind, a, b in pairs)

    def strange(self, concepts: set[str]) -> bool:
        """Whether training never shows two of these concepts together."""
        kind = "concept-concept"
        return kind in self.preset.held_out and any(held_out(kind, a, b) for a, b in combinations(concepts, 2))

    def sayable(self, phrases: tuple[Phrase, ...]) -> bool:
        """Whether a sentence of this split may mention these things together."""
        if self.compositions or self.unrestricted:
            return True
        return all(map(self.known, phrases)) and not self.strange({phrase.concept for phrase in phrases} - {None})

    def draw_pool(self, rng: Random, count: int = 10) -> World:
        """A world of a few concepts and no cards, so that two of its pictures have things in common."""
        while True:
            pool = tuple(rng.sample(self.concepts, count))
            if self.strange(set(pool)) == self.compositions:
                return replace(self, pool=pool, preset=replace(self.preset, cards=0.0))

    def draw_things(self, rng: Random) -> list[Phrase]:
        """Concept, colour, size and place of every thing of a scene; a card has no concept."""
        while True:
            count = rng.randint(*self.preset.objects)
            group = rng.choice((2, 3)) if count >= 3 and rng.random() < self.preset.repeats else 1
            card = count > group + 1 and rng.random() < self.preset.cards
            for _ in range(_TRIES):
                concepts = rng.sample(self.concepts, count - group + 1 - card)
                concepts += concepts[:1] * (group - 1) + [None] * card
                things = [self._draw_thing(concept, rng) for concept in rng.sample(concepts, count)]
                if self._fits(things):
                    return things

    def _draw_thing(self, concept: str | None, rng: Random) -> Phrase | None:
        """A thing that training may show, or for `test_compositions` one that it may not; None if there is none."""
        size = rng.choice([size for size, _ in self.preset.sides])
        place = rng.choice(PLACES) if self.preset.places else None
        things = [Phrase(concept, colour, size, place) for colour in COLOURS]
        free = self.unrestricted or not concept
        fitting = [thing for thing in things if free or self.known(thing) != self.compositions]
        return rng.choice(fitting or [None])

    def _fits(self, things: list[Phrase | None]) -> bool:
        """No two alike, no two at one place, and concepts together that training shows (or never shows) together."""
        if None in things or len(set(things)) < len(things):
            return False
        places, concepts = [thing.place for thing in things], {thing.concept for thing in things} - {None}
        if self.preset.places and len(set(places)) < len(places):
            return False
        strange = self.compositions and "concept-concept" in self.preset.held_out and len(concepts) > 1
        return self.unrestricted or self.strange(concepts) == strange
