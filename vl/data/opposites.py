"""Stored opposites of captions and of their sentences: texts one change away that are false of the picture."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from vl.data.sample import Record

_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")


def sentences(text: str) -> list[str]:
    """The sentences of a text, in English or Chinese."""
    return [part for part in _END.split(text) if part]


def opposites(record: Record, kinds: Collection[str] | None = None) -> Iterator[tuple[str, str, str]]:
    """Captions and sentences of captions that have an opposite of these kinds (None for all): text, opposite, kind."""
    captions = {f"captions/{index}": caption.text for index, caption in enumerate(record.captions)}
    for opposite in record.opposites:
        if opposite.of not in captions or (kinds is not None and opposite.kind not in kinds):
            continue
        caption = captions[opposite.of]
        yield caption, opposite.text, opposite.kind
        own, other = sentences(caption), sentences(opposite.text)
        if len(own) == len(other) > 1:
            yield from ((a, b, opposite.kind) for a, b in zip(own, other, strict=True) if a != b)


def opposites_of(record: Record, text: object) -> dict[str, list[str]]:
    """By kind, the opposites of a caption of the record, or of a sentence of one."""
    found: dict[str, list[str]] = {}
    for own, other, kind in opposites(record):
        if own == text:
            found.setdefault(kind, []).append(other)
    return found
