"""Where the things of a scene stand, and what of each can be seen.

A layout is drawn, pasted as silhouettes, and drawn again when a thing is covered so far that it could be missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image
from scene import Item, Phrase, Scene
from sprites import sprite
from world import Preset, World

#: Side of every picture.
PIXELS = 224
#: The least share of a thing that can be seen, and the share of a thing that is covered where "behind" is said.
VISIBLE, COVERED = 0.7, 0.08
#: Column and row of every place.
_PLACES = {"left": (0, 1), "right": (2, 1), "top": (1, 0), "bottom": (1, 2), "middle": (1, 1)}


@dataclass(frozen=True)
class Placed:
    """A sprite, turned and scaled, and where its upper left corner goes."""

    image: Image.Image
    left: int
    top: int

    @property
    def centre(self) -> tuple[float, float]:
        return self.left + self.image.width / 2, self.top + self.image.height / 2

    def overlap(self, other: Placed) -> float:
        """The area two frames share, of the smaller frame's."""
        width = min(self.left + self.image.width, other.left + other.image.width) - max(self.left, other.left)
        height = min(self.top + self.image.height, other.top + other.image.height) - max(self.top, other.top)
        smaller = min(self.image.width * self.image.height, other.image.width * other.image.height)
        return max(width, 0) * max(height, 0) / smaller


def draw_scene(world: World, rng: Random) -> tuple[Scene, list[Placed]]:
    """A scene of this world with its sprites, the later in front of the earlier."""
    while True:
        things = world.draw_things(rng)
        crowd = 0.85 if len(things) > 5 else 1.0
        sides = [rng.uniform(*dict(world.preset.sides)[thing.size]) for thing in things]
        sides = [side * (crowd if thing.size == "large" else 1) for side, thing in zip(sides, things, strict=True)]
        angles = [rng.uniform(-world.preset.turn, world.preset.turn) for _ in things]
        images = [_turned(world.style, *thing) for thing in zip(things, sides, angles, strict=True)]
        for _ in range(4):
            placed = _place(things, images, world.preset, rng)
            if placed and (scene := _look(things, sides, angles, placed)):
                return scene, placed


def _turned(style: str, thing: Phrase, side: float, angle: float) -> Image.Image:
    image = sprite(style, thing.concept, thing.colour)
    scale = side / max(image.size)
    size = tuple(max(2, round(length * scale)) for length in image.size)
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0).rotate(angle, Image.Resampling.BILINEAR, True)


def _place(things: list[Phrase], images: list[Image.Image], preset: Preset, rng: Random) -> list[Placed] | None:
    """Corners such that frames overlap little; None when the picture is too crowded for the draw."""
    placed: dict[int, Placed] = {}
    for i in sorted(range(len(images)), key=lambda i: -max(images[i].size)):
        for _ in range(30):
            candidate = _drop(images[i], things[i].place, preset, rng)
            if all(candidate.overlap(other) < 0.22 for other in placed.values()):
                placed[i] = candidate
                break
        else:
            return None
    return [placed[i] for i in range(len(images))]


def _drop(image: Image.Image, place: str | None, preset: Preset, rng: Random) -> Placed:
    width, height = PIXELS - image.width, PIXELS - image.height
    if place is None:
        return Placed(image, rng.randint(0, width), rng.randint(0, height))
    stray = preset.stray
    x, y = (PIXELS * (preset.anchors[where] + rng.uniform(-stray, stray)) for where in _PLACES[place])
    left, top = round(x - image.width / 2), round(y - image.height / 2)
    return Placed(image, min(max(left, 0), width), min(max(top, 0), height))


def _look(things: list[Phrase], sides: list[float], angles: list[float], placed: list[Placed]) -> Scene | None:
    """The scene as seen: boxes of what is visible. None when a thing is hardly visible."""
    owner = np.full((PIXELS, PIXELS), -1, np.int8)
    areas, covered = [], np.zeros((len(placed), len(placed)), int)
    for i, sprite_ in enumerate(placed):
        solid = np.asarray(sprite_.image.getchannel("A")) > 127
        window = owner[sprite_.top : sprite_.top + solid.shape[0], sprite_.left : sprite_.left + solid.shape[1]]
        under = window[solid]
        covered[i] = np.bincount(under[under >= 0], minlength=len(placed))
        window[solid] = i
        areas.append(under.size)
    items = []
    for i, (thing, side, angle) in enumerate(zip(things, sides, angles, strict=True)):
        rows, columns = (np.flatnonzero((owner == i).any(axis)) for axis in (1, 0))
        visible = float(np.count_nonzero(owner == i) / areas[i])
        if visible < VISIBLE:
            return None
        box = tuple(float(edge) / PIXELS for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        hides = frozenset(j for j in range(i) if covered[i, j] >= COVERED * areas[j])
        items.append(Item(thing.concept, thing.colour, thing.size, side, centre, angle, box, visible, hides))
    return Scene(tuple(items))
