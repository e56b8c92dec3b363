"""One shard: scenes are drawn, spoken of, balanced against each other, and written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import captions
import choices
import entailment
import expressions
import questions
import statements
from balance import balance
from layout import PIXELS, Placed, draw_scene
from render import render
from scene import PLACES, Scene, stands
from simplejpeg import encode_jpeg
from sprites import names
from world import PRESETS, World

from vl.data.card import Shard
from vl.data.shards import ShardWriter

QUALITY = 85
_LISTED = ("left", "above", "bigger", "front")
LICENCES = {"twemoji": "CC-BY-4.0 (Twemoji)", "openmoji": "CC-BY-SA-4.0 (OpenMoji)"}
Record = dict[str, object]


@dataclass(frozen=True)
class Job:
    """One shard: samples `start` to `stop` (scenes, or sets of two pairs) of a split. A pure function of its fields."""

    folder: str
    split: str
    preset: str
    seed: int
    start: int
    stop: int
    pairs: bool = False

    @property
    def name(self) -> str:
        return f"{self.split}-{'pairs' if self.pairs else 'scenes'}-{self.start:07d}"

    @property
    def world(self) -> World:
        return World(self.split, PRESETS[self.preset])

    def rng(self, *purpose: object) -> Random:
        return Random("/".join(map(str, (self.seed, self.preset, self.split, self.pairs, *purpose))))


def build(job: Job) -> Shard:
    """Write the shard of a job, whole or not at all."""
    samples = _pair_samples(job) if job.pairs else _scene_samples(job)
    with ShardWriter(job.folder, job.name, split=job.split, max_count=10**9, max_bytes=2**40) as writer:
        for key, members in samples:
            writer.write(key, members)
    return writer.shards[0]


@dataclass
class _Drawn:
    """A scene before its answers are balanced against those of the shard's other scenes."""

    key: str
    rng: Random
    scene: Scene
    picture: bytes
    asked: list[questions.Asked]
    supposed: list[entailment.Hypothesis]


def _scene_samples(job: Job) -> Iterator[tuple[str, Record]]:
    world = job.world
    drawn = [_draw(f"{job.split}-{index:07d}", world, job.rng(index)) for index in range(job.start, job.stop)]
    asked = _balanced_questions([one.asked for one in drawn], job.rng("questions", job.start))
    supposed = balance([one.supposed for one in drawn], 3, job.rng("entailment", job.start))
    for one, one.asked, one.supposed in zip(drawn, asked, supposed, strict=True):
        yield one.key, {"jpg": one.picture, "json": _tell(one, world)}


def _draw(key: str, world: World, rng: Random) -> _Drawn:
    scene, placed = draw_scene(world, rng)
    asked, supposed = questions.questions(scene, world, rng), entailment.hypotheses(scene, world, rng)
    return _Drawn(key, rng, scene, _jpeg(placed, rng, world), asked, supposed)


def _tell(one: _Drawn, world: World) -> Record:
    """Everything that is known and said of a scene: its record."""
    key, rng, scene = one.key, one.rng, one.scene
    captioned = captions.tell(captions.captions(scene, world, rng), scene, world, rng)
    answered = questions.tell(one.asked, key, rng)
    return (
        _record(world)
        | captioned
        | answered
        | {"opposites": captioned["opposites"] + answered["opposites"]}
        | expressions.tell(expressions.expressions(scene, world, rng), key)
        | entailment.tell(one.supposed, key, rng)
        | choices.tell(choices.choices(scene, world, rng), key)
        | _knowledge(scene)
    )


def _balanced_questions(asked: list[list[questions.Asked]], rng: Random) -> list[list[questions.Asked]]:
    """Yes and no equally often, and none, one, two and three; colours and names are balanced as they are drawn."""
    for types, labels in ((questions.POLAR, 2), (("count",), 4)):
        chosen = balance([[q for q in scene if q.type in types] for scene in asked], labels, rng)
        asked = [[q for q in scene if q.type not in types] + kept for scene, kept in zip(asked, chosen, strict=True)]
    return asked


def _pair_samples(job: Job) -> Iterator[tuple[str, Record]]:
    for index in range(job.start, job.stop):
        rng = job.rng(index)
        world = job.world.draw_pool(rng)
        drawn = [[draw_scene(world, rng) for _ in ("left", "right")] for _ in range(2)]
        pairs = tuple(tuple(scene for scene, _ in pair) for pair in drawn)
        stated = statements.statements(pairs, world, rng)
        told = statements.tell(stated, pairs, world, f"{job.split}-{index}", rng)
        for number, ((left, right), fields) in enumerate(zip(drawn, told, strict=True)):
            sides = {"left": _knowledge(left[0]), "right": _knowledge(right[0])}
            members = {"left.jpg": _jpeg(left[1], rng, world), "right.jpg": _jpeg(right[1], rng, world)}
            yield f"{job.split}-pair-{index:07d}-{number}", members | {"json": _record(world) | fields | sides}


def _jpeg(placed: list[Placed], rng: Random, world: World) -> bytes:
    return encode_jpeg(
        render(placed, rng, world.preset.patterns), quality=QUALITY, colorspace="RGB", colorsubsampling="444"
    )


def _record(world: World) -> Record:
    return {"width": PIXELS, "height": PIXELS, "source": "scenes", "licence": LICENCES[world.style]}


def _knowledge(scene: Scene) -> Record:
    """The scene graph: `objects` from back to front, and the `relations` (subject, relation, object) among them.

    Of a relation and its inverse one is listed; one that is open, in neither direction.
    """
    numbered = list(enumerate(scene.items))
    return {
        "objects": [
            {
                "box": item.box,
                "name": names("en").get(item.concept, "card"),
                "name_zh": names("zh").get(item.concept, "卡片"),
                "attributes": [item.colour, item.size],
                "places": [place for place in PLACES if stands(item, place)],
                "side": round(item.side, 1),
                "angle": round(item.angle, 1),
                "visible": round(item.visible, 3),
            }
            for item in scene.items
        ],
        "relations": [
            (i, relation, j)
            for i, a in numbered for j, b in numbered if i != j
            for relation in _LISTED if scene.holds(relation, a, b)
        ],
    }  # fmt: skip
