"""Hypotheses about a scene: entailed, contradicted, or neutral because they hang on what a card hides.

The colour, size and place of a hidden thing can be seen, its class cannot. A neutral hypothesis is a true sentence
about the scene with some concept under the card, so the three labels come with the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from claims import claim
from grammar import LANGUAGES, STATEMENTS, say
from meaning import Sentence, opposites, undecided
from scene import Scene
from world import World

TYPES = ("object", "attribute", "count", "position", "comparison", "conjunction")


@dataclass(frozen=True)
class Hypothesis:
    type: str
    sentence: Sentence
    answer: str

    @property
    def stratum(self) -> tuple:
        return self.type, self.sentence.form, self.sentence.number, self.sentence.things[0].size


def hypotheses(scene: Scene, world: World, rng: Random) -> list[Hypothesis]:
    """At most one hypothesis of each type; balancing keeps about a third of them."""
    drawn = (_hypothesis(type_, scene, world, rng) for type_ in TYPES)
    return [hypothesis for hypothesis in drawn if hypothesis]


def _hypothesis(type_: str, scene: Scene, world: World, rng: Random) -> Hypothesis | None:
    hidden = [i for i, item in enumerate(scene.items) if item.concept is None]
    if hidden and rng.random() < 0.6:
        return _neutral(type_, scene, hidden, world, rng)
    true = claim(type_, scene, world, rng)
    if true and rng.random() < 0.5:
        return Hypothesis(type_, true, "entailment")
    near = true or claim(type_, _bare(scene), world, rng)
    false = [sentence for _, sentence in opposites(near, world, rng, scene)] if near else []
    return Hypothesis(type_, rng.choice(false), "contradiction") if false else None


def _bare(scene: Scene) -> Scene:
    """The scene without its cards."""
    return Scene(tuple(item for item in scene.items if item.concept))


def _neutral(type_: str, scene: Scene, hidden: list[int], world: World, rng: Random) -> Hypothesis | None:
    concept, other = rng.sample(world.concepts, 2)
    revealed = scene.reveal(concept)
    about = [revealed.items[i] for i in hidden]
    sentence = claim(type_, _bare(scene), world, rng) if type_ == "count" else claim(type_, revealed, world, rng, about)
    if sentence and undecided(sentence, scene, (other,)):
        return Hypothesis(type_, sentence, "neutral")
    return None


def tell(drawn: list[Hypothesis], key: str, rng: Random) -> dict[str, list]:
    """The hypotheses in both languages, as a field of a record."""
    told = []
    for i, hypothesis in enumerate(drawn):
        style = rng.randrange(6)
        told += [
            {
                "id": f"{key}-{i}-{language}",
                "hypothesis": say(STATEMENTS, hypothesis.sentence, language, style),
                "label": hypothesis.answer,
                "type": hypothesis.type,
                "language": language,
            }
            for language in LANGUAGES
        ]
    return {"entailment": told}
