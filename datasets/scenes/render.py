"""Pixels: a muted background of one of six patterns or none, then the things with a soft shadow each."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
from layout import PIXELS, Placed
from PIL import Image

_ROWS, _COLUMNS = np.mgrid[0:PIXELS, 0:PIXELS].astype(np.float32) / PIXELS


def render(placed: list[Placed], rng: Random, patterns: int = 6) -> np.ndarray:
    """uint8 (224, 224, 3), on one of the first `patterns` patterns; of none, on plain grey."""
    plain = np.full((PIXELS, PIXELS, 3), 160, np.uint8)
    background = _background(np.random.default_rng(rng.getrandbits(64)), patterns) if patterns else plain
    picture = Image.fromarray(background)
    for sprite in placed:
        alpha = sprite.image.getchannel("A")
        shade = alpha.resize((alpha.width + 6, alpha.height + 6), Image.Resampling.BILINEAR).point(lambda a: a * 0.28)
        picture.paste((20, 20, 20), (sprite.left - 2, sprite.top - 2), shade)
        picture.paste(sprite.image, (sprite.left, sprite.top), sprite.image)
    return np.asarray(picture)


def _background(rng: np.random.Generator, patterns: int) -> np.ndarray:
    """Two muted colours, mixed by a pattern; never so bright, dark or colourful that a thing could drown in it."""
    pattern = (_gradient, _stripes, _checks, _dots, _clouds, _rings)[rng.integers(patterns)](rng)
    first, second = _muted(rng), _muted(rng)
    ramp = first + np.linspace(0, 1, 256, dtype=np.float32)[:, None] * (second - first)
    top, left = rng.integers(PIXELS, size=2)
    grain = _noise()[top : top + PIXELS, left : left + PIXELS] * np.float32(rng.uniform(0, 3))
    return ramp.astype(np.uint8)[(pattern * 255).astype(np.uint8)] + grain.astype(np.int8).view(np.uint8)[..., None]


@cache
def _noise() -> np.ndarray:
    """Grain for every picture, of which each shows another part; at most 5, so that it cannot overflow a byte."""
    noise = np.random.default_rng(0).standard_normal((2 * PIXELS, 2 * PIXELS), np.float32)
    return np.clip(noise, -5, 5)


def _muted(rng: np.random.Generator) -> np.ndarray:
    return (rng.uniform(125, 190) + rng.uniform(-22, 22, 3)).astype(np.float32)


def _slope(rng: np.random.Generator) -> np.ndarray:
    """Distance along a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return _COLUMNS * np.float32(np.cos(angle)) + _ROWS * np.float32(np.sin(angle))


def _gradient(rng: np.random.Generator) -> np.ndarray:
    slope = _slope(rng)
    return (slope - slope.min()) / (slope.max() - slope.min())


def _stripes(rng: np.random.Generator) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(_slope(rng) * np.float32(rng.uniform(15, 90)))


def _checks(rng: np.random.Generator) -> np.ndarray:
    cells = rng.uniform(4, 16)
    return ((np.floor(_ROWS * cells) + np.floor(_COLUMNS * cells)) % 2).astype(np.float32)


def _dots(rng: np.random.Generator) -> np.ndarray:
    cells = rng.uniform(6, 16)
    rows, columns = (_ROWS * cells) % 1 - 0.5, (_COLUMNS * cells) % 1 - 0.5
    return (rows * rows + columns * columns < 0.09).astype(np.float32)


def _clouds(rng: np.random.Generator) -> np.ndarray:
    cells = int(rng.integers(4, 24))
    noise = Image.fromarray(rng.random((cells, cells), np.float32))
    return np.clip(np.asarray(noise.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)), 0, 1)


def _rings(rng: np.random.Generator) -> np.ndarray:
    rows, columns = _ROWS - np.float32(rng.random()), _COLUMNS - np.float32(rng.random())
    return 0.5 + 0.5 * np.sin(np.sqrt(rows * rows + columns * columns) * np.float32(rng.uniform(15, 70)))
