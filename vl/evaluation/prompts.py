"""Prompt templates for zero-shot classification, by name and language; `{}` is where the class name goes.

Section 3.1.4 of CLIP (arXiv:2103.00020): a prompt says what kind of picture it is, and the mean of several is better.
"""

from __future__ import annotations

from pathlib import Path

TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    "name": {"en": ("{}",), "zh": ("{}",)},
    "photo": {"en": ("a photo of a {}.",), "zh": ("一张{}的照片。",)},
    "ensemble": {
        "en": (
            "{}",
            "a {}.",
            "a photo of a {}.",
            "a photo of the {}.",
            "a close-up photo of a {}.",
            "a blurry photo of a {}.",
            "a photo of many {}.",
            "a photo of a large {}.",
            "a photo of a small {}.",
            "a picture of a {}.",
            "a drawing of a {}.",
            "an illustration of a {}.",
            "an icon of a {}.",
            "an emoji of a {}.",
        ),
        "zh": (
            "{}",
            "一个{}。",
            "一张{}的照片。",
            "一张{}的特写照片。",
            "一张模糊的{}照片。",
            "一张有很多{}的照片。",
            "一张大的{}的照片。",
            "一张小的{}的照片。",
            "一张{}的图片。",
            "一幅{}的画。",
            "一幅{}的插图。",
            "一个{}的图标。",
            "一个{}的表情符号。",
        ),
    },
}


def read_templates(name: str, language: str) -> tuple[str, ...]:
    """The templates of a set of `TEMPLATES` in a language, or of a file with one a line.

    A language without templates of its own gets the bare name.

    Raises:
        ValueError: neither a set nor a file, or a template has no `{}`.
    """
    if name in TEMPLATES:
        return TEMPLATES[name].get(language, ("{}",))
    if not Path(name).is_file():
        raise ValueError(f"templates {name!r}: neither a file nor one of {', '.join(TEMPLATES)}")
    found = tuple(line for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip())
    if not found:
        raise ValueError(f"{name} is empty; it should hold one template a line")
    if wrong := [line for line in found if "{}" not in line]:
        raise ValueError(f"{name}: {wrong[0]!r} has no {{}}, where the class name goes")
    return found
