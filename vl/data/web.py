"""Pictures of the web that are known by a URL and a caption: Conceptual Captions, SBU, Wukong."""

from __future__ import annotations

from typing import NamedTuple

from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.sample import Caption


class UrlRow(NamedTuple):
    """A row of a released list; `number` counts from 1 and names the picture where its URL does not."""

    number: int
    url: str
    caption: str


def web_sample(row: UrlRow, pictures: Pictures, source: str, language: str) -> Made | Missing:
    """A sample with one caption; its picture is looked for by URL, then as 000000123.jpg by its number."""
    name = f"{row.number:09d}"

    def record(width: int, height: int) -> dict[str, object]:
        captions = [Caption(row.caption.strip(), language)]
        return {"captions": captions, "width": width, "height": height, "source": source, "url": row.url}

    return picture_sample(name, pictures, (row.url, f"{name}.jpg"), record)
